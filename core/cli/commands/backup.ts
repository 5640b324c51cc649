import { resolve } from 'node:path'
import { loadConfig } from '../../config/load-config.js'
import type { Store } from '../../database/store.js'
import { RouteMQError } from '../../support/errors.js'
import { userName } from '../actor.js'
import type { CliContext } from '../context.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { withStore } from '../store-session.js'

const PROGRESS_EVERY_MS = 1_000
/** Emptying a table of years takes as long as it takes. */
const STATEMENT_MS = 86_400_000

/** `routemq backup` and `routemq restore`: the product's tables in a file that any of the databases takes back. */
export function registerBackup({ program, action }: Registry): void {
  program
    .command('backup')
    .description("write the product's tables to a file, while it runs or not")
    .argument('<file>', 'for example plant.backup; compressed')
    .option('--force', 'replace a file of that name')
    .action((file: string, { force }: { force?: boolean }) =>
      action((context, json) =>
        withStore(context, async (store) => {
          const { root, out, err } = context
          sameDatabase(root, store)
          const path = resolve(file)
          const others = await applicationTables(store)
          const [{ dump }, { writeBackup }] = await Promise.all([
            import('../../database/backup/dump.js'),
            import('../../database/backup/file.js'),
          ])
          const progress = new Progress(context)
          const lines = dump({ store, now: Date.now, onRows: (rows) => progress.add(rows) })
          await writeBackup(path, lines, force === true)
          if (others.length > 0)
            err(`Not in it are the application's own tables ${others.join(', ')}: ${TOOLS[store.dialect]}`)
          if (json) out(JSON.stringify({ file: path, rows: progress.rows, not_included: others }))
          else out(`${progress.rows} rows of ${store.address} are in ${path}`)
          return 0
        }),
      ),
    )
  program
    .command('restore')
    .description("fill the product's tables from a backup, of whichever database; nothing may run meanwhile")
    .argument('<file>')
    .option('--force', 'replace what the tables hold')
    .action((file: string, { force }: { force?: boolean }) =>
      action((context, json) =>
        withStore(
          context,
          async (store) => {
            const { root, out, err } = context
            refuseRunning(root)
            const path = resolve(file)
            const [{ checkBackup, readBackup }, { filledTables, load, refuseNewer }] = await Promise.all([
              import('../../database/backup/file.js'),
              import('../../database/backup/load.js'),
            ])
            const header = await checkBackup(path)
            await refuseNewer(store, header)
            await store.migrate()
            await refuseOthers(context, store)
            const filled = await filledTables(store)
            if (filled.length > 0 && force !== true) {
              throw new RouteMQError(
                'DATABASE_NOT_EMPTY',
                `${store.address} holds something already (${filled.join(', ')}); --force replaces it`,
                { details: { tables: filled } },
              )
            }
            const copy = filled.length > 0 ? await copyBefore(store) : undefined
            if (copy !== undefined) err(`What was there is in ${copy}`)
            const progress = new Progress(context)
            await load({
              store,
              lines: readBackup(path),
              onRows: (rows) => progress.add(rows),
              entry: {
                actor: { kind: 'cli', name: userName() },
                action: 'restore',
                subject: path,
                outcome: 'ok',
                details: { created_at: header.created_at, replaced: filled },
              },
            })
            if (json)
              out(
                JSON.stringify({ file: path, rows: progress.rows, created_at: header.created_at, copy: copy ?? null }),
              )
            else out(`${progress.rows} rows of ${header.created_at} are in ${store.address}`)
            return 0
          },
          { statementMs: STATEMENT_MS },
        ),
      ),
    )
}

const TOOLS = {
  sqlite: 'copy the file of the database with `sqlite3 FILE ".backup COPY"`.',
  postgres: "use `pg_dump --exclude-table='routemq_*'`.",
  mysql: 'use `mariadb-dump --single-transaction` or `mysqldump --single-transaction` with their names.',
} as const

/** The running product may have been started with other settings than this command sees. */
function sameDatabase(root: string, store: Store): void {
  const run = RunningProduct.find(root)?.run
  if (run?.database === undefined || run.database === store.address) return
  throw new RouteMQError(
    'USAGE',
    `Process ${run.pid} runs here on ${run.database}, and the settings of this command name ${store.address}: ` +
      'give it the same DATABASE_URL.',
  )
}

function refuseRunning(root: string): void {
  const run = RunningProduct.find(root)?.run
  if (run === undefined) return
  throw new RouteMQError('ALREADY_RUNNING', `Process ${run.pid} runs here since ${run.started_at}: stop it first.`, {
    details: { pid: run.pid },
  })
}

/** A database of a server may be shared: who renews leases there would go on with what is taken from under it. */
async function refuseOthers({ root, env }: CliContext, store: Store): Promise<void> {
  const own = loadConfig({ root, env, keepInstance: false }).config.app.instance
  const others = (await store.leases.alive()).filter((owner) => owner !== own)
  if (others.length === 0) return
  throw new RouteMQError(
    'ALREADY_RUNNING',
    `Installation ${others.join(', ')} runs on ${store.address}: stop it first, and wait until its leases have lapsed.`,
    { details: { installations: others } },
  )
}

async function applicationTables({ kysely }: Store): Promise<string[]> {
  const tables = await kysely.introspection.getTables()
  return tables
    .map(({ name }) => name)
    .filter((name) => !name.startsWith('routemq_'))
    .sort()
}

/** An SQLite file is small change; of a server its own tools make the copy. */
async function copyBefore(store: Store): Promise<string | undefined> {
  if (store.dialect !== 'sqlite') return undefined
  const copy = `${store.address}.before-restore-${new Date().toISOString().replace(/\D/g, '').slice(0, 14)}`
  await store.backup(copy)
  return copy
}

/** Says at a terminal how far it is, once a second. */
class Progress {
  rows = 0
  readonly #context: CliContext
  #toldAt = performance.now()

  constructor(context: CliContext) {
    this.#context = context
  }

  add(rows: number): void {
    this.rows += rows
    const now = performance.now()
    if (!this.#context.terminal || now - this.#toldAt < PROGRESS_EVERY_MS) return
    this.#toldAt = now
    this.#context.err(`${this.rows} rows so far`)
  }
}
