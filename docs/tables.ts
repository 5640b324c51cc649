import { readFileSync, writeFileSync } from 'node:fs'
import { SETTINGS, type Setting } from '../core/config/settings.js'
import { ERROR_CODES } from '../core/support/error-codes.js'

// Writes the tables of the reference that the sources know: `npm run docs:tables`.
const GROUPS: Readonly<Record<string, string>> = {
  app: 'Application',
  workers: 'Workers',
  mqtt: 'Broker',
  database: 'Database',
  keep: 'What is kept',
  modbus: 'Devices',
  poller: 'Polling',
  http: 'Sidecar',
  log: 'Logs',
  trace: 'Traces',
}

replace('errors.md', [
  '| code | status | retried | what to do |',
  '|---|---|---|---|',
  ...Object.entries(ERROR_CODES).map(
    ([code, { status, retry, advice }]) => `| \`${code}\` | ${status} | ${retry ? 'yes' : 'no'} | ${advice} |`,
  ),
])

const settings: readonly Setting<unknown>[] = Object.values(SETTINGS)
replace(
  'configuration.md',
  Object.entries(GROUPS).flatMap(([group, title]) => [
    `### ${title}`,
    '',
    '| place in the file | names | default | takes | meaning | a change |',
    '|---|---|---|---|---|---|',
    ...settings.filter(({ path }) => path.startsWith(`${group}.`)).map(row),
    '',
  ]),
)

function row({ path, names, fallback, kind, about, secret, effect }: Setting<unknown>): string {
  const meaning = secret === 'file' ? `${about} Secret.` : about
  const cells = [`\`${path}\``, names.map((name) => `\`${name}\``).join(', '), show(path, fallback), kind.want, meaning]
  return `| ${cells.join(' | ')} | ${effect} |`
}

/** Durations are kept in milliseconds and sizes in bytes; people write them with units. */
function show(path: string, value: unknown): string {
  if (value === undefined) return ''
  if (Array.isArray(value)) return value.length === 0 ? 'empty' : `\`${value.join(',')}\``
  if (typeof value !== 'number') return `\`${String(value)}\``
  if (path.includes('bytes') && value % 2 ** 20 === 0) return `\`${value / 2 ** 20}MiB\``
  if (/(recovery|interval|ttl)_seconds$/.test(path)) return `\`${value / 1_000}\``
  return /(timeout|ack_hold)$/.test(path) ? `\`${value / 1_000}s\`` : `\`${value}\``
}

function replace(page: string, lines: readonly string[]): void {
  const file = new URL(`reference/${page}`, import.meta.url)
  const [begin, end] = ['<!-- table: npm run docs:tables -->', '<!-- end of table -->']
  const text = readFileSync(file, 'utf8')
  const [before, rest] = text.split(begin)
  const after = rest?.split(end)[1]
  if (before === undefined || after === undefined) throw new Error(`${page} has no markers for its table`)
  writeFileSync(file, `${before}${begin}\n${lines.join('\n').trimEnd()}\n${end}${after}`)
}
