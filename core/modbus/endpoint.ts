import { isDeepStrictEqual } from 'node:util'
import { RouteMQError } from '../support/errors.js'
import type { DeviceInput, DeviceRecord } from './device-record.js'
import type { DeviceOptions } from './device-schema.js'
import type { BusEndpoint } from './transport/transport.js'

/** Where the bus of a device is and how it frames. The record has been through `normalizeDevice`. */
export function endpointOf(record: DeviceRecord): BusEndpoint {
  if (record.transport === 'serial') {
    return {
      kind: record.framer === 'ASCII' ? 'serial_ascii' : 'serial_rtu',
      path: record.path!,
      baudRate: record.baud_rate!,
      parity: record.parity!,
      dataBits: record.data_bits!,
      stopBits: record.stop_bits!,
    }
  }
  const at = { host: record.host!, port: record.port! }
  if (record.transport === 'udp') return { kind: 'udp', ...at }
  if (record.transport === 'tls') return { kind: 'tls', ...at, ...tlsOf(record) }
  if (record.framer === 'SOCKET') return { kind: 'tcp', ...at }
  return { kind: record.framer === 'ASCII' ? 'ascii_tcp' : 'rtu_tcp', ...at }
}

function tlsOf(record: DeviceRecord) {
  const { ca, cert, key, servername } = (record.options as DeviceOptions).tls ?? {}
  return {
    ...(ca === undefined ? {} : { ca }),
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(servername === undefined ? {} : { servername }),
  }
}

/** Id of the bus of a device: `host:port`, or the path of the serial line. Devices with one id share one connection. */
export function busIdOf(record: Pick<DeviceRecord, 'transport' | 'path' | 'host' | 'port'>): string {
  return record.transport === 'serial' ? record.path! : `${record.host!.toLowerCase()}:${record.port!}`
}

/** The unit a request to this device carries. */
export function unitOf(record: Pick<DeviceRecord, 'unit_id' | 'slave_id'>): number {
  return record.unit_id ?? record.slave_id
}

/** True where two endpoints are the same connection with the same framing and line settings. */
export function sameEndpoint(a: BusEndpoint, b: BusEndpoint): boolean {
  return a === b || JSON.stringify(a).toLowerCase() === JSON.stringify(b).toLowerCase()
}

/**
 * Refuses a device whose framing or line settings differ from those its bus already has.
 *
 * @throws RouteMQError BUS_CONFLICT naming the device it clashes with.
 */
export function checkBusConflict(existing: readonly DeviceRecord[], candidate: DeviceRecord): void {
  const bus = busIdOf(candidate)
  const endpoint = endpointOf(candidate)
  for (const other of existing) {
    if (other.device_id === candidate.device_id || !other.is_active || busIdOf(other) !== bus) continue
    if (sameEndpoint(endpointOf(other), endpoint)) continue
    throw busConflict(candidate, other, bus)
  }
}

/** Devices that share a bus, by its id: for whoever checks thousands of them. */
export function devicesByBus(devices: readonly DeviceRecord[]): ReadonlyMap<string, readonly DeviceRecord[]> {
  const buses = new Map<string, DeviceRecord[]>()
  for (const device of devices) {
    const bus = busIdOf(device)
    const own = buses.get(bus)
    if (own === undefined) buses.set(bus, [device])
    else own.push(device)
  }
  return buses
}

export function busConflict(candidate: DeviceRecord, other: DeviceRecord, bus: string): RouteMQError {
  const [wanted, used] = [lineSettings(candidate), lineSettings(other)]
  const fields = Object.keys(wanted).filter((field) => wanted[field] !== used[field])
  const shown = (settings: typeof wanted) => fields.map((field) => `${field} ${settings[field]}`).join(', ')
  const difference = fields.length === 0 ? ' other TLS texts than' : ` ${shown(wanted)}; it is ${shown(used)} for`
  return new RouteMQError(
    'BUS_CONFLICT',
    `Device ${candidate.device_id} wants ${bus} with${difference} device ${other.device_id}: devices of one bus change that together`,
    { details: { device_id: candidate.device_id, bus, other: other.device_id } },
  )
}

/** How a bus is used, apart from the texts of TLS: devices of one bus agree on it. */
function lineSettings(record: DeviceRecord): Readonly<Record<string, string | number | null>> {
  const { transport, framer, baud_rate, parity, data_bits, stop_bits } = record
  if (transport !== 'serial') return { transport, framer }
  return { transport, framer, baud_rate, parity, data_bits, stop_bits }
}

/** Fields of a device that say where its bus is and how it is used. */
const BUS_FIELDS = [
  'host',
  'port',
  'path',
  'transport',
  'framer',
  'baud_rate',
  'parity',
  'data_bits',
  'stop_bits',
] as const

/** What another device of the bus has to change with one that changes how the bus is used, or where it is. */
export function busChanges(before: DeviceRecord, after: DeviceRecord, other: DeviceRecord): Partial<DeviceInput> {
  const changed = BUS_FIELDS.filter((field) => before[field] !== after[field])
  const fields = Object.fromEntries(changed.map((field) => [field, after[field]]))
  const [tlsBefore, tls] = [before, after].map((record) => (record.options as DeviceOptions).tls)
  if (isDeepStrictEqual(tlsBefore, tls)) return fields
  const { tls: _, ...others } = other.options as DeviceOptions
  return { ...fields, options: tls === undefined ? others : { ...others, tls } }
}
