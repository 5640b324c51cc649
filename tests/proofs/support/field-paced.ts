import type { TestContext } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import type { Sample } from '../../../core/poller/sample.js'

export const IDS: readonly string[] = Array.from({ length: 10 }, (_, n) => `unit${n + 1}`)

export interface PacedBus {
  readonly plant: VirtualDevice
  readonly field: FieldService
  readonly poller: Poller
  readonly samples: Sample[]
  /** These units do not hear what they are asked. */
  readonly silent: Set<number>
  /** Function codes of the requests that came to the plant, in their order. */
  readonly seen: number[]
}

/** Ten units on one bus whose answers take `answerMs` each, polled every `intervalMs`. Not started yet. */
export async function pacedBus(
  t: TestContext,
  { answerMs, intervalMs, record = {} }: { answerMs: number; intervalMs: number; record?: Record<string, unknown> },
): Promise<PacedBus> {
  const units = Object.fromEntries(IDS.map((_, n) => [n + 1, { holding: [n] }]))
  const plant = await startVirtualDevice({ units })
  const silent = new Set<number>()
  const seen: number[] = []
  plant.faults.choose(({ unit, functionCode }) => {
    seen.push(functionCode)
    return silent.has(unit) ? { kind: 'deaf' } : { kind: 'delay', ms: answerMs }
  })
  const field = new FieldService({
    config: {
      demoPort: undefined,
      breaker: { failures: 5, recoveryMs: 30_000 },
      writeEnabled: true,
      topicPrefix: 'modbus/data',
    },
    cacheTtlMs: 300_000,
    logger: silentLogger,
  })
  const devices = IDS.map((device_id, n) =>
    normalizeDevice({ device_id, host: plant.host, port: plant.port, slave_id: n + 1, framer: 'SOCKET', ...record }),
  )
  field.apply(devices)
  const samples: Sample[] = []
  const poller = new Poller({
    field: field.polling,
    publisher: { publish: async () => {}, publishValues: () => {} },
    sink: {
      accept: async (more) => {
        samples.push(...more)
      },
    },
    config: { enabled: true, intervalMs, cacheTtlMs: 300_000 },
    topicPrefix: 'modbus/data',
    logger: silentLogger,
  })
  const targets = IDS.map((device_id, n) => ({
    id: n + 1,
    device_id,
    register_type: 'holding' as const,
    address: 0,
    count: 1,
    description: null,
    is_active: true,
    interval_ms: intervalMs,
    publish: 'always' as const,
    options: {},
    created_at: '',
    updated_at: '',
  }))
  poller.apply(targets, devices)
  t.after(async () => {
    await poller.stop()
    await field.stop(500)
    await plant.close()
  })
  return { plant, field, poller, samples, silent, seen }
}
