import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import { normalizeDevice } from '../modbus/device-schema.js'
import { unreadWatches } from '../modbus/watched-points.js'
import type { Logger } from '../observability/logger.js'
import type { BusLoad } from '../poller/bus-load.js'
import type { PlantDefinition } from './create-app.js'

/** What a person should know about devices that are not as the application's file says. */
export function deviceWarnings(
  file: PlantDefinition,
  kept: readonly DeviceRecord[],
  inForce: readonly DeviceRecord[],
): string[] {
  const idle = inForce.filter((device) => device.options.virtual === true && !device.is_active)
  const moved = file.devices.filter((input) => {
    const known = kept.find(({ device_id }) => device_id === input.device_id)
    const wanted = normalizeDevice(input)
    return (
      known !== undefined && (known.host !== wanted.host || known.port !== wanted.port || known.path !== wanted.path)
    )
  })
  const names = (devices: readonly { readonly device_id: string }[]) =>
    devices.map(({ device_id }) => device_id).join(', ')
  return [
    ...(idle.length === 0
      ? []
      : [`${names(idle)}: devices of demo mode, not active without it; set PLANT_HOST for real ones`]),
    ...(moved.length === 0
      ? []
      : [`${names(moved)}: another address in the application's file than in the database; the database holds`]),
  ]
}

/**
 * What is wrong with a plant that is in force, said once: a point may go after a target that watches it came, a line be made
 * slower, rows are edited by hand.
 */
export class PlantWarnings {
  readonly #logger: Logger
  #said: ReadonlySet<string> = new Set()

  constructor(logger: Logger) {
    this.#logger = logger
  }

  tell(devices: readonly DeviceRecord[], targets: readonly TargetRecord[], loads: readonly BusLoad[]): void {
    const found = [
      ...deafTargets(devices, targets).map(({ sentence, ...facts }) => ({ key: sentence, sentence, facts })),
      ...loads.flatMap(({ bus, load, warning }) => {
        // Its share moves with each change: once for a bus that is nearly full, once for one that is overloaded.
        const key = `${bus} ${load > 1 ? 'overloaded' : 'full'}`
        return warning === null
          ? []
          : [{ key, sentence: warning, facts: { bus, load_percent: Math.round(load * 100) } }]
      }),
    ]
    for (const { key, sentence, facts } of found) if (!this.#said.has(key)) this.#logger.warn(facts, sentence)
    this.#said = new Set(found.map(({ key }) => key))
  }
}

/** Active targets that watch what they do not read, so that it never fires. */
export function deafTargets(
  devices: readonly DeviceRecord[],
  targets: readonly TargetRecord[],
): { readonly target: number; readonly field: string; readonly sentence: string }[] {
  const known = new Map(devices.map((device) => [device.device_id, device]))
  return targets.flatMap((target) => {
    const device = known.get(target.device_id)
    if (device === undefined || !target.is_active) return []
    return unreadWatches(target, device).map(({ field, message }) => ({
      target: target.id,
      field,
      sentence: `polling target ${target.id} watches what it does not read, so that never fires: ${field}: ${message}`,
    }))
  })
}
