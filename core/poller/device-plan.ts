import type { RegisterType } from '../modbus/field.js'
import type { PollPort } from '../modbus/field-polling.js'
import type { PlannedBlock } from '../modbus/planner/plan-device.js'
import { RouteMQError } from '../support/errors.js'
import { busLoad, type PolledTogether } from './bus-load.js'

/** One request of each slot. */
export interface DeviceRead {
  readonly interval_ms: number
  readonly register_type: RegisterType
  readonly address: number
  readonly count: number
  /** Targets it brings. */
  readonly targets: readonly number[]
  /** Addresses that nobody asked for, read because that is cheaper than two requests. */
  readonly unwanted: number
  readonly wire_ms: number
}

/** The requests that poll a device, and what polling costs its bus. */
export interface DevicePlan {
  readonly device_id: string
  readonly bus: string
  readonly targets: number
  readonly reads: readonly DeviceRead[]
  /** Of all devices of the bus, percent. */
  readonly bus_load_percent: number
  /** A sentence where the load is over 80 %, or where a read barely fits or does not fit into its time-out. */
  readonly warning: string | null
}

/** @throws RouteMQError DEVICE_UNKNOWN */
export function planOfDevice(field: PollPort, groups: readonly PolledTogether[], deviceId: string): DevicePlan {
  const bus = field.busOf(deviceId)
  if (bus === undefined) {
    throw new RouteMQError('DEVICE_UNKNOWN', `There is no active device ${deviceId}.`, {
      details: { device_id: deviceId },
    })
  }
  const own = groups.filter((group) => group.deviceId === deviceId)
  const { load, warning } = busLoad(field, bus, groups)
  return {
    device_id: deviceId,
    bus,
    targets: own.reduce((sum, { targets }) => sum + targets.length, 0),
    reads: own.flatMap((group) => group.plan().map((read) => readOf(field, group, read))),
    bus_load_percent: Math.round(load * 1_000) / 10,
    warning,
  }
}

function readOf(field: PollPort, { deviceId, intervalMs, targets }: PolledTogether, read: PlannedBlock): DeviceRead {
  const { register_type, address, count, wanted } = read
  const own = wanted.map((index) => targets[index]!)
  const isAsked = (at: number) => own.some((target) => target.address <= at && at < target.address + target.count)
  return {
    interval_ms: intervalMs,
    register_type,
    address,
    count,
    targets: own.map(({ id }) => id),
    unwanted: Array.from({ length: count }, (_, place) => address + place).filter((at) => !isAsked(at)).length,
    wire_ms: field.wireTime(deviceId, [read]),
  }
}
