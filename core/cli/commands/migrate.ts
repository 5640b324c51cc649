import type { Registry } from '../program.js'
import { withStore } from '../store-session.js'
import { table } from '../table.js'

/** A statement over a table of years takes as long as it takes. */
const LIMITS = { statementMs: 86_400_000 }

/** `routemq migrate`, `migrate:status`, `migrate:rollback`: the tables of the product and of the application. */
export function registerMigrate({ program, action }: Registry): void {
  program
    .command('migrate')
    .description('run the migrations that have not run; starting the product does the same')
    .action(() =>
      action((context, json) =>
        withStore(
          context,
          async (store) => {
            const report = await store.migrate({ moveReadings: true })
            const done = [...report.framework, ...report.app].map(ran)
            if (report.hypertable) done.push('moved the readings into a hypertable of TimescaleDB')
            if (json) context.out(JSON.stringify(report))
            else {
              if (report.copy !== undefined) context.out(`copied the database to ${report.copy}`)
              context.out(done.length === 0 ? `Nothing to do: ${store.address} is up to date.` : done.join('\n'))
            }
            return 0
          },
          LIMITS,
        ),
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
        withStore(
          context,
          async (store) => {
            const name = await store.rollback()
            if (json) context.out(JSON.stringify({ rolled_back: name ?? null }))
            else context.out(name === undefined ? 'There is nothing to take back.' : `took ${name} back`)
            return 0
          },
          LIMITS,
        ),
      ),
    )
}

const ran = (name: string) => `ran ${name}`
