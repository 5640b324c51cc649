import { RouteMQError } from '../../support/errors.js'
import type { Device } from '../device.js'
import { REGISTER_TYPES, type ReadBlock } from '../field.js'
import { describeAddress } from '../field-failure.js'
import type { Lesson } from './learned-ranges.js'
import { type PlannedRead, planReads, type Wanted } from './plan-reads.js'
import { joinLimit, type WireCost, wireCost } from './wire-time.js'

export interface PlannedBlock extends ReadBlock {
  /** Indexes of the wanted blocks it brings. */
  readonly wanted: readonly number[]
}

/** The addresses one read of a device may carry. */
export function readLimit(device: Device, type: ReadBlock['register_type']): number {
  return type === 'coil' || type === 'discrete'
    ? (device.options.max_bits ?? 2_000)
    : (device.options.max_registers ?? 125)
}

/**
 * The cheapest reads that bring blocks of one device, each block whole; a block beyond the limit of the device is split
 * where the device's `allow_tearing` permits that. Reads are joined as far as the line carries their answer well within
 * `timeoutMs`.
 *
 * @throws RouteMQError ADDRESS_INVALID for a block that cannot be had in one request.
 */
export function planDevice(
  device: Device,
  blocks: readonly ReadBlock[],
  timeoutMs: number,
  lessons: readonly Lesson[] = device.learned.lessons,
): PlannedBlock[] {
  const plan: PlannedBlock[] = []
  for (const type of REGISTER_TYPES) {
    const own = blocks.flatMap((block, index) =>
      block.register_type === type ? pieces(device, block).map((piece) => ({ ...piece, index })) : [],
    )
    if (own.length === 0) continue
    const cost = costOf(device, type)
    const learned = lessons.filter((lesson) => lesson.type === type)
    const apart = learned.filter(({ kind }) => kind === 'apart')
    const alone = learned.filter(({ kind }) => kind === 'alone')
    const isAlone = (range: Wanted) => alone.some(({ from, to }) => range.address <= from && to < endOf(range))
    const joinable = own.filter((piece) => !isAlone(piece))
    const single = own.filter(isAlone)
    const reads = planReads(joinable, {
      max: readLimit(device, type),
      maxJoined: joinLimit(cost, timeoutMs),
      maxGap: device.options.max_gap,
      forbidden: [
        ...(device.options.forbidden ?? []).filter((range) => range.register_type === type),
        // Reading what may only be written can have an effect.
        ...device.points
          .writeOnly()
          .filter((point) => point.register_type === type)
          .map((point) => ({ from: point.address, to: point.address + point.words - 1 })),
        ...alone,
        ...apart.map(({ from, to }) => ({ from: from + 1, to: to - 1 })),
      ],
      apart,
      ...cost,
    })
    const add = ({ address, count, wanted }: PlannedRead, among: typeof own) => {
      const indexes = [...new Set(wanted.map((i) => among[i]!.index))]
      plan.push({ device_id: device.id, register_type: type, address, count, wanted: indexes })
    }
    for (const read of reads) add(read, joinable)
    for (const read of eachAlone(single)) add(read, single)
  }
  return plan
}

/** What a read of a device costs on its bus, as plans go by it unless told otherwise. */
export function costOf(
  { bus, options }: Device,
  type: ReadBlock['register_type'],
  turnaroundMs: number | undefined = bus.roundTrips.steadyTurnaroundMs,
): WireCost {
  return wireCost(bus.endpoint, type, turnaroundMs, Math.max(bus.settings.silenceMs, options.delay_ms ?? 0))
}

/** A read for each of these ranges, equal ones once. */
function eachAlone(ranges: readonly Wanted[]): PlannedRead[] {
  const reads = new Map<string, { address: number; count: number; wanted: number[] }>()
  for (const [index, { address, count }] of ranges.entries()) {
    const key = `${address}+${count}`
    const read = reads.get(key)
    if (read === undefined) reads.set(key, { address, count, wanted: [index] })
    else read.wanted.push(index)
  }
  return [...reads.values()]
}

function endOf({ address, count }: Wanted): number {
  return address + count
}

function pieces(device: Device, block: ReadBlock): { address: number; count: number }[] {
  const max = readLimit(device, block.register_type)
  if (block.count <= max) return [{ address: block.address, count: block.count }]
  if (device.options.allow_tearing !== true) {
    const where = describeAddress(block.register_type, block.address, block.count)
    throw new RouteMQError(
      'ADDRESS_INVALID',
      `Device ${device.id} carries ${max} addresses a request; ${where} does not fit`,
      {
        details: { ...block, max },
      },
    )
  }
  return Array.from({ length: Math.ceil(block.count / max) }, (_, i) => ({
    address: block.address + i * max,
    count: Math.min(max, block.count - i * max),
  }))
}
