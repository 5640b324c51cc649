import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../core/modbus/device-schema.js'
import { FieldService } from '../../core/modbus/field-service.js'
import { startVirtualDevice, type VirtualDevice } from '../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../core/modbus/transport/open.js'
import { RouteMQError } from '../../core/support/errors.js'
import { allFaults } from '../core/modbus/all-faults.js'
import { FIELD_SETTINGS } from '../core/modbus/field-settings.js'
import { openSerialLine, serialUnavailable } from '../core/modbus/serial-line.js'
import { heapAfterCollection } from '../core/support/heap-after-collection.js'
import { figures, size } from './support/size.js'

const UNITS = [1, 2, 3]
const BASES = [0, 10, 20, 30, 40, 50, 60, 70]
const TIMEOUT_MS = 60
/**
 * Late bytes come this long after the time-out, copies right behind their answer; both are waited for as long as the
 * settings of the bus say, which leaves room for a machine that holds processes up.
 */
const LATE_MS = 20
const LATE_GRACE_MS = 300
/** A fault after so many requests at least, and less than so many more. */
const LEAST_BETWEEN = size(5, 15)
const MORE_BETWEEN = size(10, 30)
const HUNG_MS = 30_000
const REMEMBERED = 10_000
const BAUD = 115_200

const noSerial = await serialUnavailable()

const FAULTS = allFaults(TIMEOUT_MS, LATE_MS)

interface Plant {
  readonly device: VirtualDevice
  /** What the records of its units say about the way to it. */
  readonly record: Readonly<Record<string, unknown>>
  close(): Promise<void>
}

interface Run {
  readonly kind: string
  readonly open: () => Promise<Plant>
  readonly inFlight: number
  readonly requests: number
  readonly skip?: string | undefined
}

const units = Object.fromEntries(UNITS.map((unit) => [unit, {}]))

function onPort(kind: 'tcp' | 'udp' | 'rtu_tcp' | 'ascii_tcp', record: Readonly<Record<string, unknown>>) {
  return async (): Promise<Plant> => {
    const device = await startVirtualDevice({ kind, units })
    return { device, record: { host: device.host, port: device.port, ...record }, close: () => device.close() }
  }
}

function onLine(kind: 'serial_rtu' | 'serial_ascii', framer: 'RTU' | 'ASCII') {
  return async (): Promise<Plant> => {
    const line = await openSerialLine(2, BAUD)
    const settings = { kind, baudRate: BAUD, parity: 'none', dataBits: 8, stopBits: 1 } as const
    const device = await startVirtualDevice({ line: { ...settings, path: line.paths[1]! }, units })
    return {
      device,
      record: { transport: 'serial', framer, path: line.paths[0]!, baud_rate: BAUD, parity: 'none' },
      async close() {
        await device.close()
        await line.close()
      },
    }
  }
}

for (const { kind, open, inFlight, requests, skip } of [
  { kind: 'tcp', open: onPort('tcp', { framer: 'SOCKET' }), inFlight: 8, requests: size(1_200, 100_000) },
  {
    kind: 'udp',
    open: onPort('udp', { framer: 'SOCKET', transport: 'udp' }),
    inFlight: 8,
    requests: size(1_000, 100_000),
  },
  { kind: 'rtu_tcp', open: onPort('rtu_tcp', { framer: 'RTU' }), inFlight: 1, requests: size(400, 100_000) },
  { kind: 'ascii_tcp', open: onPort('ascii_tcp', { framer: 'ASCII' }), inFlight: 1, requests: size(400, 100_000) },
  {
    kind: 'serial_rtu',
    open: onLine('serial_rtu', 'RTU'),
    inFlight: 1,
    requests: size(240, 12_000),
    skip: noSerial,
  },
  {
    kind: 'serial_ascii',
    open: onLine('serial_ascii', 'ASCII'),
    inFlight: 1,
    requests: size(240, 12_000),
    skip: noSerial,
  },
] satisfies readonly Run[] as readonly Run[]) {
  test(`${kind}: ${requests} reads through the field service from a slave that misbehaves: no wrong value, none hangs`, {
    skip: skip ?? false,
  }, async (t) => {
    const plant = await open()
    const withIds = kind === 'tcp' || kind === 'udp'
    const { device } = plant
    let served = 0
    /** Requests on their way to the slave, oldest first, and when the last that reached it were sent, by their number. */
    const underWay: { unit: number; at: number }[] = []
    const sentAt = new Map<number, number>()
    let met = 0
    let nextFault = 1
    let lastFault = 'none'
    const faults: Record<string, number> = {}
    device.faults.choose(({ unit }) => {
      served += 1
      // Lines keep the order; one that was lost on the way is passed over.
      const mine = underWay.findIndex((request) => request.unit === unit)
      sentAt.set(served, underWay.splice(0, mine + 1).at(-1)?.at ?? Number.NaN).delete(served - REMEMBERED)
      // Each answer says whose it is, where it is from, and which request of all it answers.
      for (const base of BASES) {
        device.set(unit, 'holding', base, unit * 1_000 + base)
        device.set(unit, 'holding', base + 1, served >>> 16)
        device.set(unit, 'holding', base + 2, served & 0xffff)
      }
      if (served < nextFault) return undefined
      nextFault += LEAST_BETWEEN + Math.floor(Math.random() * MORE_BETWEEN)
      const fault = FAULTS[met++ % FAULTS.length]!
      lastFault = `${fault.kind} in request ${served}`
      faults[fault.kind] = (faults[fault.kind] ?? 0) + 1
      return fault
    })
    const field = new FieldService({
      ...FIELD_SETTINGS,
      config: { ...FIELD_SETTINGS.config, breaker: { failures: Number.MAX_SAFE_INTEGER, recoveryMs: 1_000 } },
      createTransport(endpoint, { copyGraceMs }) {
        const transport = createTransport(endpoint, { copyMs: copyGraceMs })
        const call = transport.call.bind(transport)
        transport.call = (unit, ...rest) => {
          if (!withIds) underWay.push({ unit, at: performance.now() })
          return call(unit, ...rest)
        }
        return transport
      },
    })
    t.after(async () => {
      await field.stop(500)
      await plant.close()
    })
    const options = {
      in_flight: inFlight,
      late_grace_ms: LATE_GRACE_MS,
      copy_grace_ms: LATE_GRACE_MS,
      queue_limit: 1_000,
    }
    field.apply(
      UNITS.map((unit) =>
        normalizeDevice({
          device_id: `unit${unit}`,
          slave_id: unit,
          timeout_ms: TIMEOUT_MS,
          max_retries: 0,
          options,
          ...plant.record,
        }),
      ),
    )

    const seen = new Set<number>()
    const ends: Record<string, number> = {}
    const wrong: string[] = []
    /** Came later than time-out and grace after their request went: nobody can tell these; a machine that stalls makes them. */
    const beyond: string[] = []
    let asked = 0
    let hung = 0
    let baseline = 0
    const read = async () => {
      const unit = UNITS[Math.floor(Math.random() * UNITS.length)]!
      const address = BASES[Math.floor(Math.random() * BASES.length)]!
      const before = served
      const guard = setTimeout(() => (hung += 1), HUNG_MS)
      try {
        const answer = await field.request({
          op: 'read',
          device_id: `unit${unit}`,
          register_type: 'holding',
          address,
          count: 3,
        })
        const [who, high, low] = answer.values as readonly number[]
        const request = high! * 65_536 + low!
        const isRight = who === unit * 1_000 + address && request > before && request <= served
        if (!isRight) {
          const age = performance.now() - (sentAt.get(request) ?? Number.NaN)
          const isLate = !withIds && age >= TIMEOUT_MS + LATE_GRACE_MS
          const facts = `asked unit ${unit} at ${address} after request ${before}, ${lastFault}`
          ;(isLate ? beyond : wrong).push(`${facts}: got ${answer.values}, ${age.toFixed(0)} ms old`)
        }
        ends.ok = (ends.ok ?? 0) + 1
        seen.add(request)
      } catch (error) {
        if (!(error instanceof RouteMQError)) throw error
        ends[error.code] = (ends[error.code] ?? 0) + 1
      } finally {
        clearTimeout(guard)
      }
    }
    const lane = async () => {
      while (asked < requests) {
        asked += 1
        if (asked === Math.floor(requests / 10)) baseline = heapAfterCollection()
        await read()
      }
    }
    // Twice as many callers as may be on the wire, so that the queue has something to choose from.
    await Promise.all(Array.from({ length: inFlight * 2 }, lane))
    seen.clear()
    const growthKb = (heapAfterCollection() - baseline) / 1_024
    figures(`faults, ${kind}`, { requests, met, wrong: wrong.length, beyond: beyond.length, hung, ...ends, growthKb })
    assert.deepEqual(wrong.slice(0, 3), [])
    assert.equal(hung, 0)
    assert.equal(Object.keys(faults).length, new Set(FAULTS.map((fault) => fault.kind)).size, 'every fault was met')
    assert.ok(ends.ok! > requests * 0.5, JSON.stringify(ends))
    assert.ok(growthKb < 2_048, `${growthKb} kB more`)
  })
}
