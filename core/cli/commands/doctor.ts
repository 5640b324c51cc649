import { existsSync } from 'node:fs'
import type { Config } from '../../config/config.js'
import { type LoadedConfig, loadConfig } from '../../config/load-config.js'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { RouteMQError } from '../../support/errors.js'
import type { CliContext } from '../context.js'
import { plantOfFile } from '../device-access.js'
import { error, type Finding, ok, reasonOf, warning } from '../doctor/finding.js'
import { checkClock, checkDataFolder, checkNode, checkPorts, checkSerial } from '../doctor/machine.js'
import { checkBroker, checkDatabase } from '../doctor/servers.js'
import { EXIT } from '../exit-codes.js'
import { plantRecords } from '../plant-records.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { withStore } from '../store-session.js'
import { table } from '../table.js'

/** `routemq doctor`: looks at everything the product stands on and says what is wrong and what to do. */
export function registerDoctor({ program, action }: Registry): void {
  program
    .command('doctor')
    .description('check this machine, the settings, broker, database, ports and serial lines')
    .action(() =>
      action(async (context, json) => {
        const findings = await examine(context)
        const failed = findings.some(({ state }) => state === 'error')
        if (json) context.out(JSON.stringify({ status: failed ? 'error' : 'ok', findings }, null, 2))
        else
          context.out(
            table(
              ['check', 'state', 'finding'],
              findings.map(({ check, state, text }) => [check, state, text]),
            ),
          )
        return failed ? EXIT.failure : EXIT.ok
      }),
    )
}

async function examine(context: CliContext): Promise<readonly Finding[]> {
  const node = checkNode(process.version)
  const { loaded, findings } = settings(context)
  if (loaded === undefined) return [node, ...findings]
  const { config } = loaded
  try {
    RunningProduct.find(context.root)
  } catch (cause) {
    return [node, ...findings, error('product', reasonOf(cause))]
  }
  const [ports, broker, database, lines] = await Promise.all([
    checkPorts(config, RunningProduct.find(context.root)?.run),
    checkBroker(context, config),
    checkDatabase(context, config),
    serialPaths(context, config).then(checkSerial),
  ])
  const { dataDir } = config.app
  return [
    node,
    ...findings,
    ...checkDataFolder(dataDir),
    checkClock(dataDir, Date.now()),
    ...ports,
    ...broker,
    ...database,
    ...lines,
  ]
}

/** Without settings nothing else can be looked at. */
function settings({ root, env }: CliContext): { loaded?: LoadedConfig; findings: Finding[] } {
  try {
    const loaded = loadConfig({ root, env, keepInstance: false })
    const findings = loaded.warnings.map((sentence) => warning('settings', sentence))
    return { loaded, findings: [ok('settings', `valid, ${loaded.config.mode} mode`), ...findings] }
  } catch (cause) {
    const mistakes = cause instanceof RouteMQError ? cause.details?.mistakes : undefined
    if (!Array.isArray(mistakes)) return { findings: [error('settings', reasonOf(cause))] }
    return {
      findings: mistakes.map(({ key, got, want }: Record<string, string>) =>
        error('settings', `${key} is ${got}; it must be ${want}`),
      ),
    }
  }
}

async function runningDevices(context: CliContext): Promise<readonly DeviceRecord[]> {
  return (await plantRecords(context)).devices
}

/** Read only: nothing is made or migrated by looking. */
async function keptDevices(context: CliContext, { database }: Config): Promise<readonly DeviceRecord[] | undefined> {
  if (database.kind === 'none' || (database.kind === 'sqlite' && !existsSync(database.file))) return undefined
  return withStore(context, (store) => store.devices.list())
}

/** Of the devices the product knows, or of those the application ships while the database cannot say. */
async function serialPaths(context: CliContext, config: Config): Promise<string[]> {
  const known = RunningProduct.find(context.root) === undefined ? keptDevices(context, config) : runningDevices(context)
  const devices = (await known.catch(() => undefined)) ?? (await plantOfFile(context.root)).devices
  return devices.flatMap(({ path, is_active }) => (path != null && is_active ? [path] : []))
}
