import { fork } from 'node:child_process'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { createTransport } from '../../../core/modbus/transport/open.js'
import type { ModbusTransport } from '../../../core/modbus/transport/transport.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import type { Sample } from '../../../core/poller/sample.js'
import { FIELD_SETTINGS } from '../../core/modbus/field-settings.js'

export const IDS: readonly string[] = Array.from({ length: 10 }, (_, n) => `unit${n + 1}`)

/** A request as it went to the wire, in milliseconds of `performance.now()`. */
export interface WireRequest {
  readonly unit: number
  readonly isWrite: boolean
  readonly sentAt: number
  /** Undefined while it is on the wire. */
  endedAt?: number
  isAnswered: boolean
}

export interface PacedBus {
  readonly field: FieldService
  readonly poller: Poller
  readonly samples: Sample[]
  /** What went to the wire, in its order. */
  readonly wire: WireRequest[]
  /** From when this resolves on a unit does not hear what it is asked. */
  silence(unit: number): Promise<void>
}

/**
 * Ten units on one bus whose answers take `answerMs` each, polled every `intervalMs`. Not started yet. They are a process of
 * their own: what they are slow at must not look as if it were the queue.
 */
export async function pacedBus(
  t: TestContext,
  { answerMs, intervalMs, record = {} }: { answerMs: number; intervalMs: number; record?: Record<string, unknown> },
): Promise<PacedBus> {
  const plant = fork(new URL('field-paced-main.ts', import.meta.url), [String(answerMs)])
  const gone = once(plant, 'exit')
  const [{ host, port }] = (await once(plant, 'message')) as [{ host: string; port: number }]
  const wire: WireRequest[] = []
  const field = new FieldService({
    ...FIELD_SETTINGS,
    createTransport: (endpoint, { copyGraceMs }) => witnessed(createTransport(endpoint, { copyMs: copyGraceMs }), wire),
  })
  const devices = IDS.map((device_id, n) =>
    normalizeDevice({ device_id, host, port, slave_id: n + 1, framer: 'SOCKET', ...record }),
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
    if (plant.connected) plant.disconnect()
    await gone
  })
  return {
    field,
    poller,
    samples,
    wire,
    async silence(unit) {
      const done = once(plant, 'message')
      plant.send({ silence: unit })
      await done
    },
  }
}

/** Notes what goes over a line, and changes nothing about it. */
function witnessed(line: ModbusTransport, wire: WireRequest[]): ModbusTransport {
  return {
    get state() {
      return line.state
    },
    hasTransactionIds: line.hasTransactionIds,
    maxInFlight: line.maxInFlight,
    connect: (options) => line.connect(options),
    async call(unit, call, options) {
      const isWrite = call.fc === 6 || call.fc === 16
      const request: WireRequest = { unit, isWrite, sentAt: performance.now(), isAnswered: false }
      wire.push(request)
      try {
        const answer = await line.call(unit, call, options)
        request.isAnswered = true
        return answer
      } finally {
        request.endedAt = performance.now()
      }
    },
    discardInput: () => line.discardInput(),
    onLost: (listener) => line.onLost(listener),
    close: () => line.close(),
  }
}
