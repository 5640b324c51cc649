import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'

/** The points of every unit of a farm: 30, of every kind of number, in 48 registers. */
export const FARM_POINTS = [
  ...Array.from({ length: 8 }, (_, n) => ({ name: `u16_${n}`, address: n, type: 'uint16' })),
  ...Array.from({ length: 6 }, (_, n) => ({ name: `i16_${n}`, address: 8 + n, type: 'int16', scale: 0.1 })),
  ...Array.from({ length: 6 }, (_, n) => ({ name: `f32_${n}`, address: 14 + n * 2, type: 'float32', order: 'CDAB' })),
  ...Array.from({ length: 4 }, (_, n) => ({ name: `u32_${n}`, address: 26 + n * 2, type: 'uint32' })),
  ...Array.from({ length: 2 }, (_, n) => ({ name: `i32_${n}`, address: 34 + n * 2, type: 'int32' })),
  { name: 'f64', address: 38, type: 'float64' },
  { name: 'u64', address: 42, type: 'uint64' },
  { name: 'on', address: 46, type: 'bit', bit: 3 },
  { name: 'mode', address: 47, type: 'uint16', enum: { off: 0, on: 1 } },
] as const
export const FARM_REGISTERS = 48
export const ENDPOINTS = 50
export const UNITS = 10

/** Slaves in a process of their own: 50 endpoints, each on an address of its own, of 10 units each. */
export class Farm {
  readonly ports: readonly number[]
  readonly #send: (message: object) => void

  private constructor(ports: readonly number[], send: (message: object) => void) {
    this.ports = ports
    this.#send = send
  }

  static async start(t: TestContext): Promise<Farm> {
    const child = fork(new URL('field-farm-main.ts', import.meta.url))
    t.after(async () => {
      if (child.exitCode !== null) return
      const gone = once(child, 'exit')
      child.disconnect()
      await gone
    })
    const [ports] = (await once(child, 'message')) as [number[]]
    return new Farm(ports, (message) => child.send(message))
  }

  static host(endpoint: number): string {
    return `127.0.1.${endpoint + 1}`
  }

  /** One unit of each endpoint answers no more. */
  silenceOneEach(): void {
    this.#send({ silence: 1 })
  }

  /** Text of `app/devices.ts`. */
  definitions(form: 'block' | 'points'): string {
    const facts = JSON.stringify({ ports: this.ports, points: FARM_POINTS, registers: FARM_REGISTERS, units: UNITS })
    return `
import { defineDevices } from 'routemq'
const farm = ${facts}
const all = farm.ports.flatMap((port, endpoint) =>
  Array.from({ length: farm.units }, (_, unit) => ({ endpoint, port, unit: unit + 1, id: 'e' + endpoint + 'u' + (unit + 1) })),
)
export default defineDevices({
  devices: all.map(({ id, endpoint, port, unit }) => ({
    device_id: id, host: '127.0.1.' + (endpoint + 1), port, slave_id: unit, framer: 'SOCKET', points: farm.points as never,
  })),
  targets: all.map(({ id }) => ({
    device_id: id, address: 0, count: farm.registers, interval_ms: 1000, options: { form: '${form}' },
  })),
})
`
  }
}
