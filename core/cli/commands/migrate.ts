import type { Registry } from '../program.js'
import { withStore } from '../store-session.js'
import { table } from '../table.js'

/** `routemq migrate`, `migrate:status`, `migrate:rollback`: the tables of the product and of the application. */
export function registerMigrate({ program, action }: Registry): void {
  program
    .command('migrate')
    .description('run the migrations that have not run; starting the product does the same')
    .action(() =>
      action((context, json) =>
        withStore(context, async (store) => {
          const report = await store.migrate()
          const names = [...report.framework, ...report.app]
          if (json) context.out(JSON.stringify(report))
          else {
            if (report.copy !== undefined) context.out(`copied the database to ${report.copy}`)
            context.out(
              names.length === 0 ? `Nothing to do: ${store.address} is up to date.` : names.map(ran).join('\n'),
            )
          }
          return 0
        }),
      ),
    )
  program
    .command('migrate:status')
    .description('list the migrations and when each ran')
    .action(() =>
      action((context, json) =>
        withStore(context, async (store) => {
          const { framework, app } = await store.migrationStatus()
          if (json) context.out(JSON.stringify({ framework, app }, null, 2))
          else {
            const rows = [
              ...framework.map(({ name, appliedAt }) => ['product', name, appliedAt ?? 'not yet']),
              ...app.map(({ name, appliedAt }) => ['application', name, appliedAt ?? 'not yet']),
            ]
            context.out(table(['of', 'migration', 'ran'], rows))
          }
          return 0
        }),
      ),
    )
  program
    .command('migrate:rollback')
    .description("take the application's last migration back")
    .action(() =>
      action((context, json) =>
        withStore(context, async (store) => {
          const name = await store.rollback()
          if (json) context.out(JSON.stringify({ rolled_back: name ?? null }))
          else context.out(name === undefined ? 'There is nothing to take back.' : `took ${name} back`)
          return 0
        }),
      ),
    )
}

const ran = (name: string) => `ran ${name}`
