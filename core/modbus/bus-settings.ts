import type { BusSettings } from './bus/bus.js'
import type { DeviceRecord } from './device-record.js'
import type { DeviceOptions } from './device-schema.js'

/** Milliseconds in which a late answer may still come on lines without transaction ids. */
const LATE_GRACE_MS = 500
/** Milliseconds in which a copy of an answer may still come on such lines: longer than the lumps of USB adapters. */
const COPY_GRACE_MS = 20
const CONNECT_TIMEOUT_MS = 3_000

/** The settings of a bus out of the wishes of its devices: the more careful value holds. */
export function busSettingsOf(records: readonly DeviceRecord[]): BusSettings {
  const options = records.map((record) => record.options as DeviceOptions)
  const given = <K extends keyof DeviceOptions>(key: K) =>
    options.map((one) => one[key]).filter((value): value is NonNullable<DeviceOptions[K]> => value !== undefined)
  const most = (values: readonly number[], fallback: number) => (values.length === 0 ? fallback : Math.max(...values))
  const idle = given('idle_close_ms')
  const least = (values: readonly number[]) => (values.length === 0 ? 1 : Math.min(...values))
  return {
    inFlight: least(given('in_flight')),
    connections: least(given('connections')),
    silenceMs: most(given('silence_ms'), 0),
    unitSwitchMs: most(given('unit_switch_ms'), 0),
    lateGraceMs: most(given('late_grace_ms'), LATE_GRACE_MS),
    copyGraceMs: most(given('copy_grace_ms'), COPY_GRACE_MS),
    localEcho: given('local_echo').includes(true),
    idleCloseMs: idle.length === 0 ? 0 : most(idle, 0),
    connectTimeoutMs: most(given('connect_timeout_ms'), CONNECT_TIMEOUT_MS),
  }
}
