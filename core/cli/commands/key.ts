import { InvalidArgumentError } from 'commander'
import { RouteMQError } from '../../support/errors.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { table } from '../table.js'

interface KeyRow {
  readonly prefix: string
  readonly name: string
  readonly scope: string
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
  /** Only in the answer to its creation. */
  readonly key?: string
}

const SCOPES = ['read', 'write', 'admin']

/** `routemq key:create|list|revoke`: keys of the sidecar that live in the database. */
export function registerKey({ program, action }: Registry): void {
  program
    .command('key:create')
    .description('make an API key of the sidecar; it is shown once')
    .argument('<name>', 'who uses it')
    .option('-s, --scope <scope>', 'read, write or admin; each contains the ones before it', scopeArgument, 'read')
    .option('-e, --expires <time>', 'ISO 8601 time after which it is refused', timeArgument)
    .action((name: string, { scope, expires }: { scope: string; expires?: string }) =>
      action(async ({ root, out, err, signal }, json) => {
        const body = { name, scope, ...(expires === undefined ? {} : { expires_at: expires }) }
        const made = await RunningProduct.need(root, signal).call<KeyRow>('POST', '/api/admin/keys', body)
        if (!json) err('Keep it now: it is not stored and cannot be shown again.')
        out(json ? JSON.stringify(made) : String(made.key))
        return 0
      }),
    )
  program
    .command('key:list')
    .description('list the API keys of the sidecar, without their secrets')
    .action(() =>
      action(async ({ root, out, signal }, json) => {
        const keys = await RunningProduct.need(root, signal).call<KeyRow[]>('GET', '/api/admin/keys')
        if (json) out(JSON.stringify(keys, null, 2))
        else if (keys.length === 0) out('There are no keys: make one with `routemq key:create NAME`.')
        else {
          const rows = keys.map((key) => [
            key.prefix,
            key.name,
            key.scope,
            key.created_at,
            key.expires_at,
            key.revoked_at,
          ])
          out(table(['prefix', 'name', 'scope', 'created', 'expires', 'revoked'], rows))
        }
        return 0
      }),
    )
  program
    .command('key:revoke')
    .description('refuse an API key from now on')
    .argument('<prefix>', 'as in key:list')
    .action((prefix: string) =>
      action(async ({ root, out, signal }, json) => {
        if (!/^[0-9a-f]{12}$/.test(prefix)) {
          throw new RouteMQError(
            'USAGE',
            `"${prefix}" is no prefix of a key: it has 12 digits; \`routemq key:list\` shows it.`,
          )
        }
        await RunningProduct.need(root, signal).call('DELETE', `/api/admin/keys/${encodeURIComponent(prefix)}`)
        out(json ? JSON.stringify({ prefix, status: 'revoked' }) : `${prefix} is revoked`)
        return 0
      }),
    )
}

function scopeArgument(text: string): string {
  if (SCOPES.includes(text)) return text
  throw new InvalidArgumentError(`Want one of ${SCOPES.join(', ')}.`)
}

function timeArgument(text: string): string {
  const time = new Date(text)
  if (time.getTime() > Date.now()) return time.toISOString()
  throw new InvalidArgumentError('Want a time in the future such as 2027-01-31T12:00:00Z.')
}
