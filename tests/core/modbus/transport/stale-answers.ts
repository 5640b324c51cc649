import { setTimeout as wait } from 'node:timers/promises'
import { startVirtualDevice, type VirtualDeviceOptions } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { type BusEndpoint, TransportError, type TransportFailure } from '../../../../core/modbus/transport/transport.js'
import { heapAfterCollection } from '../../support/heap-after-collection.js'
import { seeded } from '../../support/seeded.js'
import { allFaults } from '../all-faults.js'

export interface Tally {
  requests: number
  right: number
  /** Values that were not those of this very request: stale, foreign or damaged. */
  wrong: number
  /** Calls that neither ended nor failed in time. */
  hung: number
  failures: Partial<Record<TransportFailure['kind'], number>>
  faults: Record<string, number>
  /** What the slave did last before each wrong value. */
  wrongAfter: string[]
  /** Heap after garbage collection, from a tenth of the way to the end, in bytes. */
  growth: number
}

export interface RunOptions {
  readonly requests: number
  readonly seed: number
  /** Share of requests that meet a fault. */
  readonly faultRate: number
  readonly device: Omit<VirtualDeviceOptions, 'units'>
  /** Where the client finds it, if not where the device says. */
  readonly endpoint?: BusEndpoint
  readonly timeoutMs: number
}

/** Late answers come this long after a time-out … */
const LATE_MS = 20
/**
 * … and they, like copies, are waited for as long as this, which leaves room for a busy machine: lines of the tests are
 * processes, which have to wait for their turn.
 */
const GRACE_MS = { process: 300, line: 450 }
const UNITS = [1, 2, 3]
const ADDRESSES = 12

/**
 * Asks a slave whose every value depends on unit, address and the number of the request, while it misbehaves in all
 * the ways it knows. An answer to any other request than the one that was asked is a wrong one.
 */
export async function runAgainstFaults(options: RunOptions): Promise<Tally> {
  const random = seeded(options.seed)
  const graceMs = options.device.line === undefined ? GRACE_MS.process : GRACE_MS.line
  const tally: Tally = { requests: 0, right: 0, wrong: 0, hung: 0, failures: {}, faults: {}, wrongAfter: [], growth: 0 }
  const units = Object.fromEntries(UNITS.map((unit) => [unit, {}]))
  const device = await startVirtualDevice({ ...options.device, units, random, logLimit: 100 })
  const faults = allFaults(options.timeoutMs, LATE_MS)
  let met = 0
  let served = 0
  let last = ''
  device.faults.choose(({ unit }) => {
    served += 1
    for (let address = 0; address < ADDRESSES; address += 1) {
      device.set(unit, 'holding', address, stamp(unit, address, served))
    }
    if (random() >= options.faultRate) return undefined
    const fault = faults[met++ % faults.length]!
    last = `${fault.kind} in request ${served}`
    tally.faults[fault.kind] = (tally.faults[fault.kind] ?? 0) + 1
    return fault
  })
  const transport = createTransport(options.endpoint ?? device.endpoint, { copyMs: graceMs })
  await transport.connect({ timeoutMs: 2_000 })
  let baseline = 0

  while (tally.requests < options.requests) {
    const base = served
    const batch = Array.from({ length: transport.maxInFlight }, async (_, index) => {
      const unit = UNITS[Math.floor(random() * UNITS.length)]!
      const address = Math.floor(random() * 8)
      const count = 1 + Math.floor(random() * 4)
      tally.requests += 1
      const call = transport.call(unit, { fc: 3, address, count }, { timeoutMs: options.timeoutMs })
      const result = await Promise.race([
        call.catch((error: unknown) => error),
        wait(options.timeoutMs + 5_000, 'hung', { ref: false }),
      ])
      if (result === 'hung') tally.hung += 1
      else if (result instanceof TransportError) {
        const { kind } = result.failure
        tally.failures[kind] = (tally.failures[kind] ?? 0) + 1
        return false
      } else {
        const { values } = result as { values: readonly number[] }
        const isRight = values.every((value, at) => value === stamp(unit, address + at, base + index + 1))
        if (isRight && values.length === count) tally.right += 1
        else {
          tally.wrong += 1
          tally.wrongAfter.push(`request ${base + index + 1} after ${last}: ${values.join(' ')}`)
        }
      }
      return true
    })
    const isClean = (await Promise.all(batch)).every(Boolean)
    // Without ids the bus above waits for what is late; with them only a lost connection needs a moment.
    if (!isClean && !transport.hasTransactionIds) await wait(graceMs)
    if (transport.state !== 'open') {
      await wait(10)
      await transport.connect({ timeoutMs: 2_000 })
    }
    transport.discardInput()
    if (!isClean && transport.hasTransactionIds) await arrived(() => served)
    if (baseline === 0 && tally.requests >= options.requests / 10) baseline = heapAfterCollection()
  }
  tally.growth = heapAfterCollection() - baseline
  await transport.close()
  await device.close()
  return tally
}

/** Waits until no request comes in any more, so that the count of the next batch is known. */
async function arrived(count: () => number): Promise<void> {
  for (let before = -1; before !== count(); ) {
    before = count()
    await wait(2)
  }
}

function stamp(unit: number, address: number, request: number): number {
  return (Math.imul(unit * 31 + address * 7 + request * 101, 2654435761) >>> 16) & 0xffff
}
