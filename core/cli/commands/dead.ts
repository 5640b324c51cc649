import type { DeadLetterView } from '../../http/services/runtime.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { table } from '../table.js'

const pathOf = (id: string, action = '') => `/api/admin/dead/${encodeURIComponent(id)}${action}`

/** `routemq dead:list|show|retry|forget`: messages that no route could handle. */
export function registerDead({ program, action }: Registry): void {
  program
    .command('dead:list')
    .description('list dead letters, newest first')
    .option('-n, --limit <letters>', 'at most so many', integerArgument(1, 1_000), 50)
    .option('--route <id>', 'only of this route')
    .action(({ limit, route }: { limit: number; route?: string }) =>
      action(async ({ root, out, signal }, json) => {
        const query = new URLSearchParams({ limit: String(limit), ...(route === undefined ? {} : { route }) })
        const rows = await RunningProduct.need(root, signal).call<DeadLetterView[]>('GET', `/api/admin/dead?${query}`)
        if (json) out(JSON.stringify(rows, null, 2))
        else if (rows.length === 0) out('There are no dead letters.')
        else {
          const cells = rows.map((row) => [row.id, row.failed_at, row.topic, row.route, row.attempts, row.error.code])
          out(table(['id', 'failed', 'topic', 'route', 'attempts', 'error'], cells))
        }
        return 0
      }),
    )
  program
    .command('dead:show')
    .description('show one dead letter with its payload')
    .argument('<id>')
    .action((id: string) =>
      action(async ({ root, out, signal }, json) => {
        const letter = await RunningProduct.need(root, signal).call<DeadLetterView>('GET', pathOf(id))
        if (json) out(JSON.stringify(letter, null, 2))
        else {
          const { payload, ...facts } = letter
          out(table(['fact', 'value'], Object.entries(facts)))
          if (payload !== undefined) out(`\n${Buffer.from(payload, 'base64').toString('utf8')}`)
        }
        return 0
      }),
    )
  program
    .command('dead:retry')
    .description('run dead letters again')
    .argument('<ids...>')
    .option('--force', 'also past their deadline')
    .action((ids: string[], { force }: { force?: boolean }) =>
      action(async ({ root, out, signal }, json) => {
        const product = RunningProduct.need(root, signal)
        for (const id of ids) {
          await product.call('POST', pathOf(id, '/retry'), { force: force === true })
          out(json ? JSON.stringify({ id, status: 'retried' }) : `${id} runs again`)
        }
        return 0
      }),
    )
  program
    .command('dead:forget')
    .description('delete dead letters')
    .argument('<ids...>')
    .action((ids: string[]) =>
      action(async ({ root, out, signal }, json) => {
        const product = RunningProduct.need(root, signal)
        for (const id of ids) {
          await product.call('DELETE', pathOf(id))
          out(json ? JSON.stringify({ id, status: 'forgotten' }) : `${id} is forgotten`)
        }
        return 0
      }),
    )
}
