import { type Notation, pduAddress } from './notation.js'
import type { LineMistake } from './plant-file.js'

type Fields = Readonly<Record<string, unknown>>

/** Where the addresses of a line stand, and what to say of those that are wrong. */
export interface AddressReader {
  readonly notation: Notation
  readonly line: number
  readonly mistakes: LineMistake[]
}

/** A point or target with its address as the product counts, and the register type where the notation carries it. */
export function withAddress(fields: Fields, reader: AddressReader): Fields {
  return fields.address === undefined ? fields : converted(fields, ['address'], reader, '', undefined)
}

/** A target with the addresses that its options watch too: they are of its own register type. */
export function withTargetAddresses(fields: Fields, reader: AddressReader): Fields {
  const target = withAddress(fields, reader)
  const { options } = target
  if (reader.notation === 'pdu' || !isMap(options)) return target
  const watched = (field: unknown, name: string) => {
    if (!isMap(field) || field.address === undefined) return field
    const { register_type: _, ...rest } = converted(field, ['address'], reader, name, target.register_type)
    return rest
  }
  const { trigger, events } = options
  return {
    ...target,
    options: {
      ...options,
      ...(trigger === undefined ? {} : { trigger: watched(trigger, 'options.trigger.') }),
      ...(Array.isArray(events)
        ? { events: events.map((event, index) => watched(event, `options.events.${index}.`)) }
        : {}),
    },
  }
}

/** A device with the ranges that its options forbid. */
export function withDeviceAddresses(fields: Fields, reader: AddressReader): Fields {
  const { options } = fields
  if (reader.notation === 'pdu' || !isMap(options) || !Array.isArray(options.forbidden)) return fields
  const forbidden = options.forbidden.map((range: unknown, index) =>
    isMap(range) ? converted(range, ['from', 'to'], reader, `options.forbidden.${index}.`, undefined) : range,
  )
  return { ...fields, options: { ...options, forbidden } }
}

/** @param type the register type that all of it must have, where another field says it */
function converted(fields: Fields, names: readonly string[], reader: AddressReader, path: string, type: unknown) {
  const { notation, line, mistakes } = reader
  let known = fields.register_type ?? type
  const changed: Record<string, unknown> = { ...fields }
  for (const name of names) {
    if (fields[name] === undefined) continue
    const found = pduAddress(String(fields[name]), notation)
    if (typeof found === 'string') {
      mistakes.push({ line, message: `${path}${name}: ${found}` })
      // Told once: what is checked later gets an address.
      changed[name] = 0
      continue
    }
    changed[name] = found.address
    if (found.register_type === undefined) continue
    if (known !== undefined && known !== found.register_type) {
      const text = String(fields[name])
      mistakes.push({
        line,
        message: `${path}${name}: ${text} is ${found.register_type}, the line says ${String(known)}`,
      })
    }
    known = found.register_type
    changed.register_type = found.register_type
  }
  return changed
}

function isMap(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
