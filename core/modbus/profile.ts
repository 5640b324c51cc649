import { z } from 'zod'
import type { DeviceInput } from './device-record.js'
import { type FieldMistake, inputError, mistakesOf } from './device-schema.js'
import { type ProfileUse, profileUseSchema } from './profile-use.js'

const value = z.union([z.number(), z.string(), z.boolean()])
const variables = z.record(z.string().regex(/^[A-Za-z_]\w*$/), value)

const profileSchema = z.strictObject({
  description: z.string().max(500).optional(),
  /** Added to the address of every point. */
  address_offset: z.number().int().min(0).max(65_535).default(0),
  /** Values of `{name}` in points and device fields, where a device gives no others. */
  variables: variables.default({}),
  /** Fields of the device, below what the device says itself. */
  device: z.record(z.string(), z.unknown()).default({}),
  /** As points of a device; texts may hold `{name}`, addresses sums such as `"{base} + 4"`. */
  points: z.array(z.record(z.string(), z.unknown())).max(10_000),
})
export type DeviceProfile = z.infer<typeof profileSchema>

/** @throws RouteMQError DEVICE_INVALID naming the file and every mistake in it. */
export function readProfile(content: unknown, file: string): DeviceProfile {
  const parsed = profileSchema.safeParse(content)
  if (parsed.success) return parsed.data
  throw inputError('DEVICE_INVALID', `The profile ${file}`, mistakesOf(parsed.error))
}

/**
 * A device input with the profile it names worked in: what the device says itself wins, point by point and field by
 * field. The name stays in `options.profile`. Without a profile the input is returned as it is.
 *
 * @throws RouteMQError DEVICE_INVALID where there is no such profile, or a variable has no value.
 */
export function expandProfile(input: DeviceInput, profiles: ReadonlyMap<string, DeviceProfile>): DeviceInput {
  if (input.profile === undefined) return input
  const { profile: used, ...own } = input
  const use = profileUseSchema.safeParse(used)
  const wrong = (message: string) =>
    inputError('DEVICE_INVALID', `Device ${input.device_id}`, [{ field: 'profile', message }])
  if (!use.success) throw wrong('must be a name, or { name, address_offset, variables }')
  const { name, address_offset = 0, variables: given = {} } = named(use.data)
  const profile = profiles.get(name)
  if (profile === undefined) {
    throw wrong(`there is no profile ${name}; known are: ${[...profiles.keys()].join(', ') || 'none'}`)
  }
  const strange = Object.keys(given).filter((variable) => !Object.hasOwn(profile.variables, variable))
  if (strange.length > 0) throw wrong(`profile ${name} has no variable ${strange.join(', ')}`)
  const values = { ...profile.variables, ...given }
  const mistakes: FieldMistake[] = []
  const shift = profile.address_offset + address_offset
  const points = profile.points.map((point, index) => {
    const filled = fill(point, values, `profile.points.${index}`, mistakes) as Record<string, unknown>
    const address = sumOf(filled.address)
    return { ...filled, address: typeof address === 'number' ? address + shift : address }
  })
  const device = fill(profile.device, values, 'profile.device', mistakes) as Partial<DeviceInput>
  if (mistakes.length > 0) throw inputError('DEVICE_INVALID', `Device ${input.device_id}`, mistakes)
  const ownNames = new Set(own.points?.map((point) => point.name))
  return {
    ...device,
    ...own,
    points: [
      ...points.filter((point) => !ownNames.has(String((point as { name?: unknown }).name))),
      ...(own.points ?? []),
    ] as NonNullable<DeviceInput['points']>,
    options: { ...device.options, ...own.options, profile: name },
  }
}

function named(use: ProfileUse): Exclude<ProfileUse, string> {
  return typeof use === 'string' ? { name: use } : use
}

/** Puts values in place of `{name}`, all the way down. A text that is nothing but one becomes the value itself. */
function fill(
  item: unknown,
  values: Readonly<Record<string, unknown>>,
  field: string,
  mistakes: FieldMistake[],
): unknown {
  if (Array.isArray(item)) return item.map((one, index) => fill(one, values, `${field}.${index}`, mistakes))
  if (typeof item === 'object' && item !== null) {
    return Object.fromEntries(
      Object.entries(item).map(([key, one]) => [key, fill(one, values, `${field}.${key}`, mistakes)]),
    )
  }
  if (typeof item !== 'string') return item
  const lookUp = (name: string) => {
    if (!Object.hasOwn(values, name)) mistakes.push({ field, message: `the variable {${name}} has no value` })
    return values[name]
  }
  const [, whole] = /^\{(\w+)\}$/.exec(item) ?? []
  if (whole !== undefined) return lookUp(whole)
  return item.replace(/\{(\w+)\}/g, (_, name: string) => String(lookUp(name)))
}

/** `"100 + 4"` as 104; anything else as it is, for the schema of points to judge. */
function sumOf(address: unknown): unknown {
  if (typeof address !== 'string' || !/^\s*\d+(\s*\+\s*\d+)*\s*$/.test(address)) return address
  return address.split('+').reduce((sum, part) => sum + Number(part), 0)
}
