import { readFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadConfig } from '../../config/load-config.js'
import type { PlantChanged, PlantChanges, RefusedChange } from '../../http/services/plant.js'
import {
  auditEntries,
  changedPlant,
  countChanges,
  type LoadCheck,
  type PlantState,
  refusedChanges,
  storeChanges,
} from '../../kernel/plant-changes.js'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { RouteMQError } from '../../support/errors.js'
import { userName } from '../actor.js'
import type { CliContext } from '../context.js'
import { EXIT } from '../exit-codes.js'
import { type ImportPlan, planImport } from '../plant-file/check-plant.js'
import { NOTATIONS, type Notation } from '../plant-file/notation.js'
import { type LineMistake, readPlant } from '../plant-file/plant-file.js'
import type { Registry } from '../program.js'
import { LONG_MS, RunningProduct } from '../running-product.js'
import { withStore } from '../store-session.js'

interface ImportOptions {
  readonly notation: string
  readonly dryRun?: boolean
  readonly force?: boolean
}

/** Where devices and polling targets are kept: the running product, else the database. */
interface Keeper extends PlantState {
  /** Carries out all changes or none; `details.refused` of its error names those at fault. */
  change(changes: PlantChanges): Promise<PlantChanged>
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
        const file = readPlant(read(path), /\.csv$/i.test(path) ? 'csv' : 'yaml', notation)
        return withKeeper(context, options, async (keeper) => {
          const plan = planImport(file, keeper, await profilesOf(context))
          if (plan.mistakes.length > 0) return refuse(context, json, path, plan.mistakes)
          try {
            const facts = { ...(await keeper.change(changesOf(plan))), dry_run: options.dryRun === true }
            for (const warning of facts.warnings) context.err(warning)
            context.out(json ? JSON.stringify(facts) : sentence(facts))
            return EXIT.ok
          } catch (error) {
            return refuse(context, json, path, refusedLines(error, plan))
          }
        })
      }),
    )
}

function changesOf({ create, update, targets }: ImportPlan): PlantChanges {
  return {
    devices: { create, update },
    targets: {
      create: targets.create.map(({ input }) => input),
      update: targets.update.map(({ id, changes }) => ({ id, changes })),
    },
  }
}

/** What was refused, by line. What names no change of ours is thrown on. */
function refusedLines(error: unknown, { create, update, targets, lines }: ImportPlan): LineMistake[] {
  const refused = error instanceof RouteMQError ? error.details?.refused : undefined
  if (!Array.isArray(refused)) throw error
  const lineOf: Readonly<Record<string, readonly (number | undefined)[]>> = {
    'devices.create': create.map(({ device_id }) => lines.get(device_id)),
    'devices.update': update.map(({ device_id }) => lines.get(device_id)),
    'targets.create': targets.create.map(({ line }) => line),
    'targets.update': targets.update.map(({ line }) => line),
  }
  return (refused as readonly RefusedChange[]).map(({ change, code, message }) => {
    const [, list = '', index] = /^(\w+\.\w+)\.(\d+)$/.exec(change) ?? []
    return { line: lineOf[list]?.[Number(index)] ?? 1, message: `${code}: ${message}` }
  })
}

function sentence({ devices, targets, dry_run }: PlantChanged & { readonly dry_run: boolean }): string {
  const isIdle = devices.created + devices.updated + targets.created + targets.updated === 0
  if (isIdle) return 'Nothing to change: everything is as the file says'
  const hasTargets = targets.created + targets.updated + targets.unchanged > 0
  const polling = hasTargets ? `; ${targets.created} polling targets created, ${targets.updated} changed` : ''
  return `${devices.created} devices created, ${devices.updated} changed${polling}${dry_run ? ' (checked only)' : ''}`
}

function refuse({ err }: CliContext, json: boolean, path: string, mistakes: readonly LineMistake[]): number {
  if (json)
    err(JSON.stringify({ error: { code: 'DEVICE_INVALID', message: `${path} has mistakes`, details: { mistakes } } }))
  else {
    for (const { line, message } of mistakes) err(`${path}:${line}: ${message}`)
    err(`Nothing was imported: ${mistakes.length} ${mistakes.length === 1 ? 'mistake' : 'mistakes'}.`)
  }
  return EXIT.refused
}

async function withKeeper<T>(
  context: CliContext,
  { force = false, dryRun = false }: ImportOptions,
  work: (keeper: Keeper) => Promise<T>,
): Promise<T> {
  const product = RunningProduct.find(context.root, context.signal)
  if (product !== undefined) {
    return work({
      devices: await product.call('GET', '/api/admin/devices'),
      targets: await product.call('GET', '/api/admin/polling'),
      change: (changes) => product.call('POST', `/api/admin/plant?force=${force}&dry_run=${dryRun}`, changes, LONG_MS),
    })
  }
  return withStore(context, async (store) => {
    const { framework } = await store.migrationStatus()
    if (framework.some(({ appliedAt }) => appliedAt === undefined)) {
      throw new RouteMQError(
        'DATABASE_SCHEMA',
        `The database at ${store.address} has not all its tables: routemq migrate`,
      )
    }
    const known = { devices: await store.devices.list(), targets: await store.targets.list() }
    const load = force ? () => new Map() : await loadCheck(context)
    return work({
      ...known,
      async change(changes) {
        const changed = changedPlant(known, changes, load, Date.now())
        if (changed.refused.length > 0) throw refusedChanges(changed.refused)
        const isIdle = dryRun || changed.devices.length + changed.targets.length === 0
        if (!isIdle) {
          await store.transaction(async (within) => {
            const ids = await storeChanges(within, changed)
            await within.audit.append(auditEntries(changed, ids, { kind: 'cli', name: userName() }))
          })
        }
        return { ...countChanges(changes, changed), warnings: [] }
      },
    })
  })
}

/** As the product would check, before it has measured anything. */
async function loadCheck({ root, env }: CliContext): Promise<LoadCheck> {
  const { config } = loadConfig({ root, env, keepInstance: false })
  const [{ trialLoad }, { placeVirtual }] = await Promise.all([
    import('../../kernel/trial-load.js'),
    import('../../kernel/demo-plant.js'),
  ])
  const relocate = config.modbus.demoPort === undefined ? placeVirtual(undefined) : (device: DeviceRecord) => device
  return trialLoad({ config, relocate })
}

async function profilesOf({ root }: CliContext) {
  const { loadApp, loadProfiles } = await import('../../kernel/application.js')
  const { prepareTypeScript } = await import('../../config/typescript-loader.js')
  await prepareTypeScript(root)
  return loadProfiles(await loadApp(root))
}

function read(path: string): Buffer {
  try {
    return readFileSync(path)
  } catch (cause) {
    throw new RouteMQError('USAGE', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}

function notationArgument(text: string): Notation {
  const found = NOTATIONS.find((one) => one === text)
  if (found !== undefined) return found
  throw new RouteMQError('USAGE', `--notation ${text}: want one of ${NOTATIONS.join(', ')}`)
}
