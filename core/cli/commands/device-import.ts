import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../../modbus/device-record.js'
import { normalizeDevice } from '../../modbus/device-schema.js'
import { normalizeTarget } from '../../modbus/target-schema.js'
import { RouteMQError } from '../../support/errors.js'
import type { CliContext } from '../context.js'
import { EXIT } from '../exit-codes.js'
import { type ImportPlan, planImport } from '../plant-file/check-plant.js'
import { NOTATIONS, type Notation } from '../plant-file/notation.js'
import { type LineMistake, readCsv, readYaml } from '../plant-file/plant-file.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { withStore } from '../store-session.js'

interface ImportOptions {
  readonly notation: string
  readonly dryRun?: boolean
  readonly force?: boolean
}

/** Where devices and polling targets are kept: the running product, else the database. */
interface Keeper {
  devices(): Promise<readonly DeviceRecord[]>
  targets(): Promise<readonly TargetRecord[]>
  create(input: DeviceInput): Promise<unknown>
  update(id: string, changes: Partial<DeviceInput>): Promise<unknown>
  createTarget(input: TargetInput): Promise<unknown>
  updateTarget(id: number, changes: Partial<TargetInput>): Promise<unknown>
}

/** `routemq device:import FILE`: devices, points and polling targets from CSV or YAML; nothing where a line is wrong. */
export function registerDeviceImport({ program, action }: Registry): void {
  program
    .command('device:import')
    .description(
      'take devices, points and polling targets from a CSV or YAML file; nothing is changed where a line is wrong',
    )
    .argument(
      '<file>',
      '.csv (points where it has a column "name", polling targets where it has an "address", else devices), .yaml, .yml or .json',
    )
    .option('--notation <notation>', `how the file counts addresses: ${NOTATIONS.join(', ')}`, 'pdu')
    .option('--dry-run', 'check only')
    .option('--force', 'also polling targets that would overload their bus')
    .action((name: string, options: ImportOptions) =>
      action(async (context, json) => {
        const notation = notationArgument(options.notation)
        const path = resolve(context.root, name)
        const file = /\.csv$/i.test(path) ? readCsv(read(path), notation) : readYaml(read(path), notation)
        return withKeeper(context, options.force === true, async (keeper) => {
          const known = { devices: await keeper.devices(), targets: await keeper.targets() }
          const plan = planImport(file, known, await profilesOf(context))
          if (plan.mistakes.length > 0) return refuse(context, json, path, plan.mistakes)
          const isDry = options.dryRun === true
          const refused = isDry ? [] : await carryOut(plan, keeper)
          const { create, update, targets } = plan
          const isTaken = ({ line }: { readonly line: number }) => !refused.some((one) => one.line === line)
          const facts = {
            created: create.length,
            updated: update.length,
            targets: {
              created: targets.create.filter(isTaken).length,
              updated: targets.update.filter(isTaken).length,
              refused,
            },
            dry_run: isDry,
          }
          if (json) context.out(JSON.stringify(facts))
          else {
            for (const { line, message } of refused) context.err(`${path}:${line}: ${message}`)
            context.out(sentence(facts))
          }
          return refused.length === 0 ? EXIT.ok : EXIT.refused
        })
      }),
    )
}

interface Facts {
  readonly created: number
  readonly updated: number
  readonly targets: { readonly created: number; readonly updated: number; readonly refused: readonly LineMistake[] }
  readonly dry_run: boolean
}

function sentence({ created, updated, targets, dry_run }: Facts): string {
  const devices = `${created} devices created, ${updated} changed`
  const hasTargets = targets.created + targets.updated + targets.refused.length > 0
  const polling = hasTargets ? `; ${targets.created} polling targets created, ${targets.updated} changed` : ''
  const refused = targets.refused.length === 0 ? '' : `, ${targets.refused.length} refused`
  return `${devices}${polling}${refused}${dry_run ? ' (checked only)' : ''}`
}

/** Everything was checked but the load of the buses, which only their owner knows: targets it refuses are told by line. */
async function carryOut({ create, update, targets }: ImportPlan, keeper: Keeper): Promise<LineMistake[]> {
  for (const input of create) await keeper.create(input)
  for (const { device_id, changes } of update) await keeper.update(device_id, changes)
  const refused: LineMistake[] = []
  const attempt = async (line: number, change: () => Promise<unknown>) => {
    try {
      await change()
    } catch (error) {
      if (!(error instanceof RouteMQError) || error.code !== 'BUS_LOAD_REFUSED') throw error
      refused.push({ line, message: `${error.code}: ${error.message}` })
    }
  }
  for (const { line, input } of targets.create) await attempt(line, () => keeper.createTarget(input))
  for (const { line, id, changes } of targets.update) await attempt(line, () => keeper.updateTarget(id, changes))
  return refused
}

function refuse({ err }: CliContext, json: boolean, path: string, mistakes: readonly LineMistake[]): number {
  if (json)
    err(JSON.stringify({ error: { code: 'DEVICE_INVALID', message: `${path} has mistakes`, details: { mistakes } } }))
  else {
    for (const { line, message } of mistakes) err(`${path}:${line}: ${message}`)
    err(`Nothing was imported: ${mistakes.length} mistakes.`)
  }
  return EXIT.refused
}

async function withKeeper<T>(context: CliContext, force: boolean, work: (keeper: Keeper) => Promise<T>): Promise<T> {
  const product = RunningProduct.find(context.root, context.signal)
  if (product !== undefined) {
    const path = (id: string) => `/api/admin/devices/${encodeURIComponent(id)}`
    const query = force ? '?force=true' : ''
    return work({
      devices: () => product.call('GET', '/api/admin/devices'),
      targets: () => product.call('GET', '/api/admin/polling'),
      create: (input) => product.call('POST', '/api/admin/devices', input),
      update: (id, changes) => product.call('PUT', path(id), changes),
      createTarget: (input) => product.call('POST', `/api/admin/polling${query}`, input),
      updateTarget: (id, changes) => product.call('PUT', `/api/admin/polling/${id}${query}`, changes),
    })
  }
  return withStore(context, async (store) => {
    const { devices, targets } = store
    const { framework } = await store.migrationStatus()
    if (framework.some(({ appliedAt }) => appliedAt === undefined)) {
      throw new RouteMQError(
        'DATABASE_SCHEMA',
        `The database at ${store.address} has not all its tables: routemq migrate`,
      )
    }
    return work({
      devices: () => devices.list(),
      targets: () => targets.list(),
      create: (input) => devices.insert(withoutTimes(normalizeDevice(input))),
      update: (id, changes) => devices.update(id, changes),
      createTarget: (input) => {
        const { id: _, ...record } = withoutTimes(normalizeTarget(input, 0))
        return targets.insert(record)
      },
      updateTarget: (id, changes) => targets.update(id, changes),
    })
  })
}

/** The database sets them itself. */
function withoutTimes<R extends { created_at: string; updated_at: string }>(record: R) {
  const { created_at: _, updated_at: __, ...rest } = record
  return rest
}

async function profilesOf({ root }: CliContext) {
  const { loadApp, loadProfiles } = await import('../../kernel/application.js')
  const { prepareTypeScript } = await import('../../config/typescript-loader.js')
  await prepareTypeScript(root)
  return loadProfiles(await loadApp(root))
}

function read(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch (cause) {
    throw new RouteMQError('USAGE', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

function notationArgument(text: string): Notation {
  const found = NOTATIONS.find((one) => one === text)
  if (found !== undefined) return found
  throw new RouteMQError('USAGE', `--notation ${text}: want one of ${NOTATIONS.join(', ')}`)
}
