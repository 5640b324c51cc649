import type { TargetRecord } from '../../../core/modbus/device-record.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { BlockReading, ReadBlock } from '../../../core/modbus/field.js'
import type { FieldEvent } from '../../../core/modbus/field-event.js'
import type { PollPort } from '../../../core/modbus/field-polling.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller, type PollerOptions } from '../../../core/poller/poller.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { Recorder } from './poller-harness.js'

/** One request a target, all from one device that is there. */
export const onePlanATarget: PollPort['plan'] = (_, wanted) =>
  wanted.map((block, index) => ({ ...block, wanted: [index] }))

export function goodReading(block: ReadBlock, valueAt: (address: number) => number): BlockReading {
  const { device_id, register_type, address, count } = block
  const values = Array.from({ length: count }, (_, at) => valueAt(address + at))
  return { device_id, register_type, address, count, values, source: 'live', timestamp: 1, quality: 'good' }
}

/** A poller of `unit1`, whose reads the test answers, on a clock that the test moves. */
export function clockedPoller(
  answer: (block: ReadBlock) => Promise<BlockReading>,
  options: Partial<PollerOptions> & { readonly publisher?: Recorder } = {},
) {
  const clock = new FakeClock()
  const listeners = new Set<(event: FieldEvent) => void>()
  const field: Partial<PollPort> = {
    poll: ({ block }) => answer(block),
    plan: onePlanATarget,
    planVersion: () => 0,
    points: () => [],
    busOf: () => 'line',
    stateOf: () => ({ name: 'online' }),
    subscribe: (listener) => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
  }
  const publisher = options.publisher ?? new Recorder()
  const poller = new Poller({
    field: field as PollPort,
    config: { enabled: true, intervalMs: 1_000, cacheTtlMs: 0 },
    topicPrefix: 'data',
    logger: silentLogger,
    clock,
    ...options,
    publisher,
  })
  const devices = [normalizeDevice({ device_id: 'unit1', host: 'h', port: 502 })]
  return {
    poller,
    publisher,
    /** Who hears of the states of the device. */
    listeners,
    apply: (...targets: TargetRecord[]) => poller.apply(targets, devices),
    async pass(seconds: number) {
      for (let second = 0; second < seconds; second += 1) await clock.advance(1_000)
    },
  }
}
