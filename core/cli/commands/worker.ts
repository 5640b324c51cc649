import type { WorkerView } from '../../http/services/runtime.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { LONG_MS, RunningProduct } from '../running-product.js'
import { table } from '../table.js'

/** `routemq worker:list|restart|scale`: the worker processes of the running product. */
export function registerWorker({ program, action }: Registry): void {
  const show = (rows: readonly WorkerView[], json: boolean) => {
    if (json) return JSON.stringify(rows, null, 2)
    const columns = ['name', 'pid', 'state', 'restarts'] as const
    return table(
      columns,
      rows.map((row) => columns.map((column) => row[column])),
    )
  }
  program
    .command('worker:list')
    .description('list the worker processes of the running product')
    .action(() =>
      action(async ({ root, out, signal }, json) => {
        out(show(await RunningProduct.need(root, signal).call<WorkerView[]>('GET', '/api/admin/workers'), json))
        return 0
      }),
    )
  program
    .command('worker:restart')
    .description('restart one worker, or all of them in turn, without losing a message')
    .argument('[name]', 'as in worker:list')
    .action((name?: string) =>
      action(async ({ root, out, signal }, json) => {
        const body = name === undefined ? {} : { name }
        const product = RunningProduct.need(root, signal)
        out(show(await product.call<WorkerView[]>('POST', '/api/admin/workers/restart', body, LONG_MS), json))
        return 0
      }),
    )
  program
    .command('worker:scale')
    .description('set the number of worker slots until the next start')
    .argument('<slots>', '1 to 64', integerArgument(1, 64))
    .action((slots: number) =>
      action(async ({ root, out, signal }, json) => {
        const product = RunningProduct.need(root, signal)
        out(show(await product.call<WorkerView[]>('POST', '/api/admin/workers/scale', { slots }, LONG_MS), json))
        return 0
      }),
    )
}
