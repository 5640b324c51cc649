import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'

/** `routemq --run`: runs the product until SIGTERM or SIGINT. */
export function registerRun({ program, action }: Registry): void {
  program
    .command('run')
    .description('run the application of this folder (the same as --run)')
    .option('-w, --workers <slots>', 'worker slots; 0 runs everything in one process', integerArgument(0, 64))
    .action(({ workers }: { workers?: number }) =>
      action(async ({ root }) => {
        const { runGateway } = await import('../../kernel/run.js')
        return runGateway({ root, flags: workers === undefined ? {} : { workers } })
      }),
    )
}
