import type { Device } from './device.js'
import type { DeviceRecord } from './device-record.js'
import type { DeviceOptions } from './device-schema.js'
import { busIdOf } from './endpoint.js'

/** Who may be written, live: the system, each bus, and the device's own record must all allow it. */
export class WriteSwitches {
  #system: boolean
  readonly #buses = new Map<string, boolean>()
  /** Buses that a device on them says are not to be written. */
  #closed: ReadonlySet<string> = new Set()
  /** Buses with a device that is not to be written. */
  #guarded: ReadonlySet<string> = new Set()

  constructor(system: boolean) {
    this.#system = system
  }

  get system(): boolean {
    return this.#system
  }

  setSystem(enabled: boolean): void {
    this.#system = enabled
  }

  setBus(bus: string, enabled: boolean): void {
    if (enabled) this.#buses.delete(bus)
    else this.#buses.set(bus, false)
  }

  /** Takes over what the records say of their buses: one that says no is enough. */
  follow(records: readonly DeviceRecord[]): void {
    const closing = records.filter((one) => one.is_active && (one.options as DeviceOptions).bus_write_enabled === false)
    this.#closed = new Set(closing.map(busIdOf))
    this.#guarded = new Set(records.filter((one) => one.is_active && !one.write_enabled).map(busIdOf))
  }

  busEnabled(bus: string): boolean {
    return !this.#closed.has(bus) && (this.#buses.get(bus) ?? true)
  }

  /** Why a device may not be written; undefined where it may. */
  refusal(device: Device): string | undefined {
    if (!this.#system) return 'Writing is disabled for the whole system'
    if (!this.busEnabled(device.bus.id)) return `Writing is disabled for bus ${device.bus.id}`
    if (device.broadcast && this.#guarded.has(device.bus.id)) {
      return `A broadcast would reach a device of bus ${device.bus.id} for which writing is disabled`
    }
    return device.record.write_enabled ? undefined : `Writing is disabled for device ${device.id}`
  }
}
