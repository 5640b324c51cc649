import assert from 'node:assert/strict'
import { test } from 'node:test'
import { eventEntry, followsFromBus } from '../../../core/kernel/records.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import {
  type CallOptions,
  type ModbusAnswer,
  type ModbusCall,
  type ModbusTransport,
  TransportError,
  type TransportState,
} from '../../../core/modbus/transport/transport.js'
import type { Logger } from '../../../core/observability/logger.js'
import { Poller } from '../../../core/poller/poller.js'
import type { Clock } from '../../../core/support/clock.js'
import { FIELD_SETTINGS } from '../modbus/field-settings.js'

const STEP_MS = 500
const HOUR_MS = 3_600_000
const MINUTE_MS = 60_000
const MOST_LINES = 2_000

/** A clock that runs an hour in seconds: timers of half a second fire together. */
class QuickClock implements Clock {
  #tick = 0
  readonly #due = new Map<number, Set<() => void>>()

  now(): number {
    return 1_767_225_600_000 + this.monotonic()
  }

  monotonic(): number {
    return this.#tick * STEP_MS
  }

  after(ms: number, run: () => void): () => void {
    const tick = this.#tick + Math.max(1, Math.ceil(ms / STEP_MS))
    const timers = this.#due.get(tick) ?? new Set()
    this.#due.set(tick, timers)
    const timer = () => run()
    timers.add(timer)
    return () => timers.delete(timer)
  }

  async advance(ms: number): Promise<void> {
    for (let until = this.#tick + ms / STEP_MS; this.#tick < until; ) {
      this.#tick += 1
      const timers = this.#due.get(this.#tick)
      this.#due.delete(this.#tick)
      for (const run of timers ?? []) if (timers?.delete(run)) run()
      for (let turn = 0; turn < 3; turn += 1) await new Promise((resolve) => setImmediate(resolve))
    }
  }
}

/** A plant that can be switched off: sockets are refused where each device has its own, units silent where ten share one. */
function plantOf(clock: Clock) {
  const world = { off: false, calls: 0 }
  const open = new Set<{ lose(): void }>()
  const createTransport = (endpoint: { host?: string }): ModbusTransport => {
    const shared = endpoint.host?.startsWith('shared') === true
    let state: TransportState = 'closed'
    let onLost: (cause: Error) => void = () => {}
    const line = {
      lose() {
        if (shared || state !== 'open') return
        state = 'lost'
        onLost(new Error('the connection was reset'))
      },
    }
    return {
      get state() {
        return state
      },
      hasTransactionIds: true,
      maxInFlight: 16,
      async connect() {
        if (world.off && !shared) throw new Error('connection refused')
        state = 'open'
        open.add(line)
      },
      call(_unit: number, _call: ModbusCall, { timeoutMs }: CallOptions): Promise<ModbusAnswer> {
        world.calls += 1
        if (!world.off) return Promise.resolve({ values: [1], data: Buffer.alloc(0) })
        return new Promise((_, reject) => {
          clock.after(timeoutMs, () => reject(new TransportError('no answer', { kind: 'timeout' })))
        })
      },
      discardInput() {},
      onLost(listener) {
        onLost = listener
      },
      async close() {
        state = 'closed'
        open.delete(line)
      },
    }
  }
  return {
    world,
    createTransport,
    switchOff() {
      world.off = true
      for (const line of [...open]) line.lose()
    },
  }
}

test('500 devices off for an hour: their changes are told, not their repetitions', async () => {
  const clock = new QuickClock()
  const plant = plantOf(clock)
  const lines: string[] = []
  const note = (_: object, sentence = '') => void lines.push(sentence)
  const logger: Logger = {
    trace() {},
    debug() {},
    info: note,
    warn: note,
    error: note,
    fatal: note,
    child: () => logger,
  }
  const kept: string[] = []
  const field = new FieldService({
    config: FIELD_SETTINGS.config,
    cacheTtlMs: 60_000,
    logger,
    clock,
    random: () => 0.5,
    createTransport: plant.createTransport as never,
    onEvent: (event) => {
      if (!followsFromBus(event)) kept.push(eventEntry(event).kind)
    },
  })
  const published: string[] = []
  const poller = new Poller({
    field: field.polling,
    publisher: {
      publish: async (topic, payload) => void (topic.endsWith('/availability') && published.push(String(payload))),
      publishValues: () => {},
    },
    config: { enabled: true, intervalMs: 30_000, cacheTtlMs: 60_000 },
    topicPrefix: 'modbus/data',
    logger,
    clock,
  })
  const devices = Array.from({ length: 500 }, (_, index) =>
    normalizeDevice({
      device_id: `d${index}`,
      host: index < 250 ? `own-${index}` : `shared-${index % 25}`,
      port: 502,
      slave_id: index < 250 ? 1 : 1 + Math.floor((index - 250) / 25),
      framer: 'SOCKET',
      timeout: 1,
    }),
  )
  const targets = devices.map(({ device_id }, index) => normalizeTarget({ device_id, address: 0 }, index + 1))
  await field.start()
  field.apply(devices)
  poller.apply(targets, devices)
  poller.start()
  await clock.advance(MINUTE_MS)
  assert.deepEqual(lines, [], 'nothing to say while all is well')
  const callers = new Set<Promise<unknown>>()
  plant.switchOff()
  for (let minute = 0; minute < HOUR_MS / MINUTE_MS; minute += 1) {
    // Callers who do not give up, so that breakers take part.
    for (const { device_id } of devices.slice(0, 20)) {
      const asking = field
        .request({
          op: 'read',
          device_id,
          register_type: 'holding',
          address: 0,
          count: 1,
          deadline: clock.now() + 30_000,
        })
        .catch(() => {})
        .finally(() => callers.delete(asking))
      callers.add(asking)
    }
    await clock.advance(MINUTE_MS)
  }
  const offline = field.devices().filter(({ state }) => state === 'offline').length
  console.log(`an hour off: ${lines.length} log lines, ${kept.length} events kept, ${plant.world.calls} requests`)
  assert.equal(offline, 500)
  assert.ok(lines.length <= MOST_LINES, `${lines.length} lines`)
  // One line a bus that went away, one a device that is silent by itself.
  assert.deepEqual(countOf(lines), { 'bus is away': 250, 'device does not answer': 250 })
  assert.deepEqual(countOf(kept.filter((kind) => kind !== 'device.online' && !kind.startsWith('breaker'))), {
    'bus.down': 250,
    'device.offline': 250,
  })
  assert.ok(kept.filter((kind) => kind.startsWith('breaker')).length <= 20, 'a breaker that stays open is no news')

  plant.world.off = false
  await clock.advance(20 * MINUTE_MS)
  assert.equal(field.devices().filter(({ state }) => state === 'online').length, 500)
  assert.deepEqual(countOf(lines.slice(500)), { 'bus is back': 250, 'device answers again': 250 })
  assert.equal(published.filter((payload) => payload === 'online').length >= 1_000, true)
  const ended = Promise.all([poller.stop(), field.stop(1_000), ...callers])
  await clock.advance(5_000)
  await ended
})

function countOf(items: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {}
  for (const item of items) counts[item] = (counts[item] ?? 0) + 1
  return Object.fromEntries(Object.entries(counts).sort())
}
