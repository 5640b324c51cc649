import { RouteMQError } from '../../support/errors.js'
import type { Device } from '../device.js'
import { REGISTER_TYPES, type ReadBlock } from '../field.js'
import { describeAddress } from '../field-failure.js'
import { type PlannedRead, planReads } from './plan-reads.js'
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
export function planDevice(device: Device, blocks: readonly ReadBlock[], timeoutMs: number): PlannedBlock[] {
  const plan: PlannedBlock[] = []
  for (const type of REGISTER_TYPES) {
    const own = blocks.flatMap((block, index) =>
      block.register_type === type ? pieces(device, block).map((piece) => ({ ...piece, index })) : [],
    )
    if (own.length === 0) continue
    const cost = costOf(device, type)
    const reads: PlannedRead[] = planReads(own, {
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
        ...device.learned.gaps(type),
      ],
      walls: device.learned.walls(type),
      ...cost,
    })
    for (const { address, count, wanted } of reads) {
      const indexes = [...new Set(wanted.map((i) => own[i]!.index))]
      plan.push({ device_id: device.id, register_type: type, address, count, wanted: indexes })
    }
  }
  return plan
}

/** What a read of a device costs on its bus. */
export function costOf({ bus, options }: Device, type: ReadBlock['register_type']): WireCost {
  return wireCost(bus.endpoint, type, bus.turnaroundMs, options.delay_ms)
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
