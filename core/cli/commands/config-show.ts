import { loadConfig } from '../../config/load-config.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

/** `routemq config:show`: each setting, its value (secrets masked) and where it came from. */
export function registerConfigShow({ program, action }: Registry): void {
  program
    .command('config:show')
    .description('show the settings, their values and where each came from')
    .option('--set', 'only what is set somewhere')
    .action(({ set }: { set?: boolean }) =>
      action(async ({ root, env, out, err }, json) => {
        const { config, origins, warnings } = loadConfig({ root, env, keepInstance: false })
        const rows = origins.filter(({ from }) => set !== true || from !== 'default')
        if (json) out(JSON.stringify({ mode: config.mode, settings: rows, warnings }, null, 2))
        else {
          for (const warning of warnings) err(`! ${warning}`)
          out(`mode ${config.mode}, instance ${config.app.instance}\n`)
          out(
            table(
              ['setting', 'name', 'value', 'from'],
              rows.map((row) => [row.path, row.name, row.value, row.from]),
            ),
          )
        }
        return 0
      }),
    )
}
