import type { TestContext } from 'node:test'
import type { ReceivedWrite } from '../../../core/modbus/server/slave.js'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'

/** Virtual devices in the process of the test: their write logs are witnesses that share nothing with the product. */
export class Plant {
  readonly devices: readonly VirtualDevice[]
  /** Every write any of them carried out, in order. */
  readonly writes: (ReceivedWrite & { readonly device: number })[] = []

  private constructor(devices: readonly VirtualDevice[]) {
    this.devices = devices
    for (const [device, virtual] of devices.entries()) {
      virtual.onWrite((write) => this.writes.push({ ...write, device }))
    }
  }

  /** `delayMs`: each answer takes so long, as on a real line. */
  static async start(t: TestContext, count: number, delayMs = 0): Promise<Plant> {
    const devices = await Promise.all(Array.from({ length: count }, () => startVirtualDevice({ units: { 1: {} } })))
    t.after(() => Promise.all(devices.map((device) => device.close())))
    if (delayMs > 0) for (const { faults } of devices) faults.set('*', { kind: 'delay', ms: delayMs })
    return new Plant(devices)
  }

  /** Text of an `app/devices.ts`: `d0`, `d1` … each on a bus of its own. */
  get definition(): string {
    const devices = this.devices.map(({ host, port }, index) => ({
      device_id: `d${index}`,
      host,
      port,
      slave_id: 1,
      framer: 'SOCKET',
      timeout: 1,
      max_retries: 0,
    }))
    return `import { defineDevices } from 'routemq'\nexport default defineDevices(${JSON.stringify({ devices })})\n`
  }

  /** How often each number was written to registers 0 and 1, high word first. */
  numbers(): Map<number, number> {
    const counts = new Map<number, number>()
    for (const { values } of this.writes) {
      const number = values[0]! * 65_536 + values[1]!
      counts.set(number, (counts.get(number) ?? 0) + 1)
    }
    return counts
  }
}

/** A router with one idempotent command, `devices/{device_id}/set`, that writes its number into registers 0 and 1. */
export function commandRouter(options = 'shared: true, workers: 4, concurrency: 8'): string {
  return `
import { Router } from 'routemq'
const router = new Router()
router.on(
  'devices/{device_id}/set',
  async (ctx) => {
    const { number } = ctx.payload as { number: number }
    await ctx.devices.request(
      {
        op: 'write',
        device_id: ctx.params.device_id,
        items: [{ register_type: 'holding', address: 0, values: [number >>> 16, number & 0xffff] }],
      },
      ctx.signal,
    )
    return { number }
  },
  { name: 'set', qos: 1, idempotent: true, reply: true, ${options} },
)
export default router
`
}
