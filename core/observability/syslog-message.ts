import { textLine } from './text-line.js'

/** local0 (RFC 5424, table 1): what is no part of the operating system. */
const FACILITY = 16
/** Severities of RFC 5424, table 2. */
const SEVERITIES: Readonly<Record<string, number>> = { fatal: 2, error: 3, warn: 4, info: 6, debug: 7, trace: 7 }
const INFORMATIONAL = 6

export interface SyslogSender {
  readonly hostname: string
  readonly appName: string
}

/** A record, one line of JSON, as a message of RFC 5424; `asJson` keeps the record as it is behind the header. */
export function syslogMessage(json: string, { hostname, appName }: SyslogSender, asJson: boolean): string {
  const record = parsed(json)
  const severity = SEVERITIES[String(record.level)] ?? INFORMATIONAL
  const header = [
    `<${FACILITY * 8 + severity}>1`,
    typeof record.time === 'string' ? record.time : '-',
    printable(hostname, 255),
    printable(appName, 48),
    String(record.pid ?? '-'),
    '-',
    '-',
  ]
  return `${header.join(' ')} ${asJson ? json.trimEnd() : sentence(json)}`
}

/** Without time and level, which the header carries. */
function sentence(json: string): string {
  return textLine(json)
    .trimEnd()
    .replace(/^\S+ +[A-Z]+ +/, '')
}

function parsed(json: string): Record<string, unknown> {
  try {
    return JSON.parse(json) as Record<string, unknown>
  } catch {
    return {} // not a record of ours; the message is the line
  }
}

/** A field of the header: printable ASCII without spaces, `-` for nothing (RFC 5424, 6). */
function printable(text: string, max: number): string {
  return text.replace(/[^\x21-\x7e]/g, '_').slice(0, max) || '-'
}
