import type { DeviceInput } from '../modbus/device-record.js'
import { type FieldMistake, normalizeDevice } from '../modbus/device-schema.js'
import { type DeviceProfile, expandProfile } from '../modbus/profile.js'
import { normalizeTarget } from '../modbus/target-schema.js'
import { RouteMQError } from '../support/errors.js'
import type { PlantDefinition } from './create-app.js'

const LISTS = ['devices', 'targets']

/**
 * What an application's file says, profiles worked in.
 *
 * @throws RouteMQError CONFIG_INVALID naming the file and every mistake in it.
 */
export function checkPlant(
  file: string,
  plant: PlantDefinition,
  profiles: ReadonlyMap<string, DeviceProfile>,
): PlantDefinition {
  const mistakes: string[] = []
  const known = new Set<string>()
  const attempt = <T>(what: string, work: () => T): T | undefined => {
    try {
      return work()
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      const fields = error.details?.fields as readonly FieldMistake[] | undefined
      if (fields === undefined) mistakes.push(`${what}: ${error.message}`)
      else mistakes.push(...fields.map(({ field, message }) => `${what}: ${field ? `${field}: ` : ''}${message}`))
      return undefined
    }
  }
  for (const list of Object.keys(plant).filter((key) => !LISTS.includes(key))) {
    mistakes.push(`there is no list ${list}; want devices and targets`)
  }
  const devices = plant.devices.flatMap((input, index): DeviceInput[] => {
    // Nothing checks the types of a file that is only run.
    if (typeof input !== 'object' || input === null) {
      mistakes.push(`device ${index + 1}: is no device`)
      return []
    }
    const id: unknown = input.device_id
    const what = typeof id === 'string' ? `device ${id}` : `device ${index + 1}`
    const expanded = attempt(what, () => expandProfile(input, profiles))
    if (expanded !== undefined) attempt(what, () => normalizeDevice(expanded))
    if (typeof id === 'string') {
      if (known.has(id)) mistakes.push(`${what}: stands there twice`)
      known.add(id)
    }
    return expanded === undefined ? [] : [expanded]
  })
  const targets: unknown = plant.targets ?? []
  if (!Array.isArray(targets)) mistakes.push('targets must be a list')
  for (const [index, input] of (Array.isArray(targets) ? targets : []).entries()) {
    const what = `target ${index + 1}`
    const target = attempt(what, () => normalizeTarget(input, index + 1))
    if (target !== undefined && !known.has(target.device_id)) {
      mistakes.push(`${what}: there is no device "${target.device_id}"`)
    }
  }
  if (mistakes.length === 0) return { ...plant, devices }
  const count = mistakes.length === 1 ? 'a mistake' : `${mistakes.length} mistakes`
  throw new RouteMQError('CONFIG_INVALID', `${file} has ${count}:\n${mistakes.map((one) => `  ${one}`).join('\n')}`, {
    details: { file, mistakes },
  })
}
