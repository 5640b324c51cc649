import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'

const UNITS = 5
const REGISTERS = 10

/** Endpoints of five units each that vanish, come back, fall silent and cut their connections. */
export class SoakPlant {
  readonly #ports: readonly number[]
  readonly #devices: (VirtualDevice | undefined)[]

  private constructor(devices: readonly VirtualDevice[]) {
    this.#devices = [...devices]
    this.#ports = devices.map(({ port }) => port)
  }

  static async start(endpoints: number): Promise<SoakPlant> {
    return new SoakPlant(await Promise.all(Array.from({ length: endpoints }, () => open())))
  }

  get deviceCount(): number {
    return this.#ports.length * UNITS
  }

  /** Text of `app/devices.ts`. */
  definitions(intervalMs: number): string {
    return `
import { defineDevices } from 'routemq'
const all = ${JSON.stringify(this.#ports)}.flatMap((port, endpoint) =>
  Array.from({ length: ${UNITS} }, (_, unit) => ({ port, unit: unit + 1, id: 'e' + endpoint + 'u' + (unit + 1) })),
)
const points = Array.from({ length: ${REGISTERS} }, (_, address) => ({ name: 'p' + address, address }))
export default defineDevices({
  devices: all.map(({ id, port, unit }) => ({
    device_id: id, host: '127.0.0.1', port, slave_id: unit, framer: 'SOCKET', timeout_ms: 500, points,
  })),
  targets: all.map(({ id }) => ({ device_id: id, address: 0, count: ${REGISTERS}, interval_ms: ${intervalMs} })),
})
`
  }

  /** The first half of the endpoints is gone: connections cut, connects refused. */
  async vanish(): Promise<void> {
    for (const at of this.#half()) {
      await this.#devices[at]?.close()
      this.#devices[at] = undefined
    }
  }

  async comeBack(): Promise<void> {
    for (const at of this.#half()) this.#devices[at] ??= await open(this.#ports[at])
  }

  /** Two units of every endpoint hear nothing; or all hear again. */
  silence(on: boolean): void {
    for (const device of this.#devices) {
      device?.faults.choose(({ unit }) => (on && unit <= 2 ? { kind: 'deaf' } : undefined))
    }
  }

  /** Every third request gets its connection cut. */
  cut(on: boolean): void {
    let n = 0
    for (const device of this.#devices) {
      device?.faults.choose(() => {
        n += 1
        return on && n % 3 === 0 ? { kind: 'reset' } : undefined
      })
    }
  }

  async close(): Promise<void> {
    for (const device of this.#devices) await device?.close()
  }

  #half(): number[] {
    return Array.from({ length: Math.ceil(this.#ports.length / 2) }, (_, at) => at)
  }
}

function open(port?: number): Promise<VirtualDevice> {
  const holding = Array.from({ length: REGISTERS }, (_, address) => 100 + address)
  const units = Object.fromEntries(Array.from({ length: UNITS }, (_, unit) => [unit + 1, { holding }]))
  return startVirtualDevice({ units, ...(port === undefined ? {} : { port }) })
}
