import type { Clock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import type { ReadCache } from './cache.js'
import type { ResolvedPoint } from './codec/point-codec.js'
import type { Device } from './device.js'
import { type BlockReading, type PointReading, REGISTER_TYPES, type ReadBlock } from './field.js'
import type { Patience } from './patience.js'
import { planDevice } from './planner/plan-device.js'
import { badReading, pointReading } from './points.js'

export interface ReadHow extends Patience {
  readonly source?: 'live' | 'cache' | undefined
  /** Where the device cannot answer, its last known value as `stale`. */
  readonly allow_stale?: boolean | undefined
}

/** Functions 1 and 2 carry at most 2000 bits, 3 and 4 at most 125 registers (V1.1b3, 6.1 to 6.4). */
const MAX_BITS = 2_000
const MAX_REGISTERS = 125

/** @throws RouteMQError ADDRESS_INVALID where no read function can carry the block. */
export function checkBlock(block: ReadBlock): void {
  const { register_type, address, count } = block
  if (!REGISTER_TYPES.includes(register_type)) {
    throw new RouteMQError('ADDRESS_INVALID', `There is no register type ${String(register_type)}`, {
      details: { ...block, allowed: REGISTER_TYPES },
    })
  }
  const most = register_type === 'coil' || register_type === 'discrete' ? MAX_BITS : MAX_REGISTERS
  if (!Number.isInteger(address) || address < 0 || address > 65_535) {
    throw new RouteMQError('ADDRESS_INVALID', `Addresses are 0 to 65535, got ${String(address)}`, {
      details: { ...block },
    })
  }
  if (!Number.isInteger(count) || count < 1 || count > most || address + count > 65_536) {
    throw new RouteMQError(
      'ADDRESS_INVALID',
      `${String(count)} from ${address} is no range of 1 to ${most} ${register_type} addresses`,
      {
        details: { ...block, max: most },
      },
    )
  }
}

/** A block from the cache where that is allowed and known, else from the device. */
export async function readBlock(
  device: Device,
  cache: ReadCache,
  block: ReadBlock,
  how: ReadHow,
): Promise<BlockReading> {
  checkBlock(block)
  const cached = how.source === 'cache' ? cache.find(block) : undefined
  if (cached !== undefined) return cached
  try {
    return await device.read(block, how)
  } catch (error) {
    const known = how.allow_stale === true && isAbsence(error) ? cache.lastKnown(block) : undefined
    if (known === undefined) throw error
    return { ...known, quality: 'stale' }
  }
}

/** True where the device could not be asked; a refusal of the device is an answer and is not papered over. */
function isAbsence(error: unknown): boolean {
  if (!(error instanceof RouteMQError)) return false
  switch (error.code) {
    case 'DEVICE_TIMEOUT':
    case 'DEVICE_UNREACHABLE':
    case 'DEVICE_BUSY':
    case 'BREAKER_OPEN':
    case 'BUS_OVERLOADED':
    case 'MODBUS_GATEWAY_PATH':
    case 'MODBUS_PROTOCOL':
      return true
    default:
      return false
  }
}

/**
 * Points by name, in the order asked for, over as few requests as the planner finds. Where a part of the requests
 * fails its points are `bad` with the code as the reason; where all fail the first error is thrown.
 */
export async function readPoints(
  device: Device,
  cache: ReadCache,
  names: readonly string[],
  how: ReadHow & { readonly clock: Clock },
): Promise<PointReading[]> {
  const points = names.map((name) => readable(device, name))
  const found = new Map<string, PointReading>()
  if (how.source === 'cache') {
    for (const point of points) {
      const known = cache.find(blockOf(device, point))
      if (known !== undefined) found.set(point.name, pointReading(point, known))
    }
  }
  const missing = points.filter((point) => !found.has(point.name))
  const requests = planDevice(
    device,
    missing.map((point) => blockOf(device, point)),
    device.timeoutMs,
  )
  const failures: unknown[] = []
  const answers = await Promise.all(
    requests.map(async (request) => {
      try {
        return await readBlock(device, cache, request, { deadline: how.deadline, signal: how.signal })
      } catch (error) {
        failures.push(error)
        return { error }
      }
    }),
  )
  for (const [index, point] of missing.entries()) {
    const own = answers.filter((_, at) => requests[at]!.wanted.includes(index))
    const failed = own.find((answer) => 'error' in answer)
    if (failed === undefined) found.set(point.name, pointReading(point, joined(device, point, own as BlockReading[])))
    else found.set(point.name, unread(device, cache, point, failed.error, how))
  }
  const hasAny = points.some((point) => found.get(point.name)!.quality !== 'bad')
  if (failures.length > 0 && failures.length === requests.length && !hasAny) throw failures[0]
  return points.map((point) => found.get(point.name)!)
}

function readable(device: Device, name: string): ResolvedPoint {
  const point = device.points.get(name)
  if (point.access !== 'w') return point
  throw new RouteMQError('WRITE_ONLY', `Point ${name} of device ${device.id} can only be written`, {
    details: { device_id: device.id, point: name },
  })
}

function blockOf(device: Device, point: ResolvedPoint): ReadBlock {
  return { device_id: device.id, register_type: point.register_type, address: point.address, count: point.words }
}

/** The block of one point out of the reads that brought it, as old as the oldest: several where the device allows tearing. */
function joined(device: Device, point: ResolvedPoint, parts: readonly BlockReading[]): BlockReading {
  const [first] = parts
  if (parts.length === 1) return first!
  const values: (number | boolean)[] = []
  for (const part of parts) {
    for (const [at, value] of part.values.entries()) {
      const place = part.address + at - point.address
      if (place >= 0 && place < point.words) values[place] = value
    }
  }
  const timestamp = Math.min(...parts.map((part) => part.timestamp))
  return { ...first!, ...blockOf(device, point), values, timestamp }
}

/** A point that could not be read: its last known value where that is allowed, else bad with the code as the reason. */
function unread(
  device: Device,
  cache: ReadCache,
  point: ResolvedPoint,
  error: unknown,
  how: ReadHow & { readonly clock: Clock },
): PointReading {
  const mayBeStale = how.allow_stale === true && isAbsence(error)
  const known = mayBeStale ? cache.lastKnown(blockOf(device, point)) : undefined
  if (known !== undefined) return pointReading(point, { ...known, quality: 'stale' })
  return badReading(point, toErrorShape(error).code, how.clock.now() / 1_000)
}
