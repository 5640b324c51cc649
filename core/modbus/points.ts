import { RouteMQError } from '../support/errors.js'
import { decodePoint, type ResolvedPoint, resolvePoint, toJsonValue } from './codec/point-codec.js'
import { type QuickReader, quickReader } from './codec/quick-read.js'
import type { DeviceRecord } from './device-record.js'
import type { BlockReading, PointReading, ReadBlock, RegisterType } from './field.js'

/** The declared points of one device, by name and by register. */
export class DevicePoints {
  readonly #device: string
  readonly #byName = new Map<string, ResolvedPoint>()
  /** Definitions that break their rules; asking for them gets the reason. */
  readonly #broken = new Map<string, RouteMQError>()

  constructor(record: Pick<DeviceRecord, 'device_id' | 'points'>) {
    this.#device = record.device_id
    for (const definition of record.points) {
      try {
        this.#byName.set(definition.name, resolvePoint(definition))
      } catch (error) {
        if (!(error instanceof RouteMQError)) throw error
        this.#broken.set(definition.name, error)
      }
    }
  }

  /** @throws RouteMQError POINT_UNKNOWN, or POINT_INVALID where the definition is broken. */
  get(name: string): ResolvedPoint {
    const point = this.#byName.get(name)
    if (point !== undefined) return point
    throw (
      this.#broken.get(name) ??
      new RouteMQError('POINT_UNKNOWN', `Device ${this.#device} has no point ${name}`, {
        details: { device_id: this.#device, point: name },
      })
    )
  }

  find(name: string): ResolvedPoint | undefined {
    return this.#byName.get(name)
  }

  /** Readable points that lie wholly inside a block. */
  inside(block: Pick<ReadBlock, 'register_type' | 'address' | 'count'>): ResolvedPoint[] {
    const end = block.address + block.count
    return [...this.#byName.values()].filter(
      (point) =>
        point.access !== 'w' &&
        point.register_type === block.register_type &&
        point.address >= block.address &&
        point.address + point.words <= end,
    )
  }

  /** Points that share an address with a range. */
  touching(type: RegisterType, address: number, count: number): ResolvedPoint[] {
    return [...this.#byName.values()].filter(
      (point) =>
        point.register_type === type && point.address < address + count && address < point.address + point.words,
    )
  }

  /** Points that may only be written: reading them may have side effects, so no gap runs over them. */
  writeOnly(): ResolvedPoint[] {
    return [...this.#byName.values()].filter((point) => point.access === 'w')
  }
}

/** Reads one point out of block after block: what the point is was looked up once. */
export class PointReader {
  readonly point: ResolvedPoint
  readonly #quick: QuickReader

  constructor(point: ResolvedPoint) {
    this.point = point
    this.#quick = quickReader(point)
  }

  /** The reading out of a block that covers the point. What is stale stays stale, what is bad is null. */
  read(block: BlockReading): PointReading {
    const { point } = this
    const { values, quality, timestamp } = block
    const start = point.address - block.address
    const isCovered = start >= 0 && start + point.words <= values.length
    const value = isCovered ? this.#quick(values, start) : undefined
    if (value === undefined) return closeReading(point, block, start)
    return { point: point.name, value, unit: point.unit, quality, timestamp }
  }
}

const readers = new WeakMap<ResolvedPoint, PointReader>()

/** See {@link PointReader.read}. */
export function pointReading(point: ResolvedPoint, block: BlockReading): PointReading {
  let reader = readers.get(point)
  if (reader === undefined) {
    reader = new PointReader(point)
    readers.set(point, reader)
  }
  return reader.read(block)
}

function closeReading(point: ResolvedPoint, block: BlockReading, start: number): PointReading {
  const slice = block.values.slice(start, start + point.words) as number[] | boolean[]
  const decoded = decodePoint(point, slice)
  const quality = decoded.quality !== 'bad' && block.quality !== 'good' ? block.quality : decoded.quality
  return {
    point: point.name,
    value: decoded.quality === 'bad' ? null : toJsonValue(decoded.value),
    unit: point.unit,
    quality,
    ...(decoded.reason === undefined ? {} : { reason: decoded.reason }),
    timestamp: block.timestamp,
  }
}

/** The reading of a point that could not be had. */
export function badReading(point: ResolvedPoint, reason: string, timestamp: number): PointReading {
  return { point: point.name, value: null, unit: point.unit, quality: 'bad', reason, timestamp }
}
