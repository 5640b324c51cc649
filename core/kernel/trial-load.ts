import { isDeepStrictEqual } from 'node:util'
import type { Config } from '../config/config.js'
import type { DeviceRecord } from '../modbus/device-record.js'
import { FieldService } from '../modbus/field-service.js'
import { silentLogger } from '../observability/logger.js'
import { type LoadPort, overloads } from '../poller/bus-load.js'
import type { LoadCheck } from './plant-changes.js'
import { settable } from './record-changes.js'

export interface TrialOptions {
  readonly config: Pick<Config, 'modbus' | 'poller'>
  /** A record as it would be in force here. */
  readonly relocate: (device: DeviceRecord) => DeviceRecord
  /** What runs: it has measured its buses. */
  readonly running?: { readonly field: LoadPort; readonly devices: () => readonly DeviceRecord[] }
}

/** Predicts the load of the buses of a plant that is not in force: it is planned, nothing is opened. */
export function trialLoad({ config, relocate, running }: TrialOptions): LoadCheck {
  return (after, changed) => {
    const devices = after.devices.map(relocate)
    const trial = new FieldService({ config: config.modbus, cacheTtlMs: 0, logger: silentLogger })
    trial.apply(devices)
    const field = running === undefined ? trial.polling : withMeasured(trial.polling, devices, running)
    const fresh = new Set(changed)
    const settled = after.targets.filter((target) => !fresh.has(target))
    return overloads(field, settled, changed, ({ interval_ms }) => interval_ms ?? config.poller.intervalMs)
  }
}

/** Devices that stay as they are keep what was measured and learned of them. */
function withMeasured(
  trial: LoadPort,
  devices: readonly DeviceRecord[],
  running: NonNullable<TrialOptions['running']>,
): LoadPort {
  const before = new Map(running.devices().map((device) => [device.device_id, device]))
  const isSame = (device: DeviceRecord) => {
    const old = before.get(device.device_id)
    return old !== undefined && isDeepStrictEqual(settable(old), settable(device))
  }
  const same = new Set(devices.filter(isSame).map(({ device_id }) => device_id))
  const of = (deviceId: string) => (same.has(deviceId) ? running.field : trial)
  return {
    plan: (deviceId, wanted, intervalMs) => of(deviceId).plan(deviceId, wanted, intervalMs),
    busOf: (deviceId) => trial.busOf(deviceId),
    wireTime: (deviceId, reads) => of(deviceId).wireTime(deviceId, reads),
    answerTime: (deviceId, read, intervalMs) => of(deviceId).answerTime(deviceId, read, intervalMs),
  }
}
