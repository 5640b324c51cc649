import type { Clock } from '../support/clock.js'
import { type BlockReading, REGISTER_TYPES, type ReadBlock, type RegisterType } from './field.js'

/** A row of `/api/admin/cache`. */
export interface CacheEntry {
  /** `device:type:address:count`. */
  readonly key: string
  readonly device_id: string
  readonly register_type: RegisterType
  readonly address: number
  readonly count: number
  readonly values: readonly (number | boolean)[]
  /** ISO 8601 UTC. */
  readonly cached_at: string
  readonly age_seconds: number
}

/** `/api/admin/cache/stats`. */
export interface CacheStats {
  readonly total_entries: number
  readonly devices: number
  readonly oldest_entry: string | null
  readonly newest_entry: string | null
  readonly cache_keys: readonly string[]
}

export interface CacheMetrics {
  readonly hits: number
  readonly misses: number
  readonly sets: number
  readonly evictions: number
  readonly hit_rate_percent: number
}

interface Entry {
  readonly block: ReadBlock
  /** Bus and unit: two devices may be one unit, and what one writes the other has cached. */
  readonly space: string
  readonly values: readonly (number | boolean)[]
  /** Unix seconds. */
  readonly timestamp: number
  /** Monotonic milliseconds when the answer was complete; undefined for what a restart brought back. */
  readonly storedAt: number | undefined
  readonly order: number
}

/** A read that is on the wire. A write that overlaps it spoils it: its answer is not cached. */
export interface CacheTicket {
  fill(values: readonly (number | boolean)[], timestamp: number): void
  /** For a read that brought nothing. Harmless after `fill`. */
  close(): void
}

/**
 * The last value of every block that was read. The newest entry that covers a range answers for it, never a patchwork.
 * A write drops what it overlaps, and a read sent before the write never brings it back.
 */
export class ReadCache {
  #ttlMs: number
  readonly #maxEntries: number
  readonly #clock: Clock
  /** By device, then by {@link placeOf}. Insertion order is age: an entry that is renewed moves to the end. */
  readonly #devices = new Map<string, Map<number, Entry>>()
  readonly #onWire = new Set<{ readonly block: ReadBlock; readonly space: string; spoiled: boolean }>()
  #size = 0
  #order = 0
  #revision = 0
  #hits = 0
  #misses = 0
  #sets = 0
  #evictions = 0

  /** How long an entry answers from now on, milliseconds. */
  set ttlMs(ms: number) {
    this.#ttlMs = ms
  }

  constructor(options: { readonly ttlMs: number; readonly clock: Clock; readonly maxEntries?: number }) {
    this.#ttlMs = options.ttlMs
    this.#clock = options.clock
    this.#maxEntries = options.maxEntries ?? 50_000
  }

  /** Opens a ticket at the moment a read goes to the wire. */
  open(block: ReadBlock, space: string): CacheTicket {
    const read = { block, space, spoiled: false }
    this.#onWire.add(read)
    return {
      fill: (values, timestamp) => {
        const open = this.#onWire.delete(read)
        if (!open || read.spoiled) return
        this.#store({ block, space, values, timestamp, storedAt: this.#clock.monotonic(), order: ++this.#order })
        this.#sets += 1
      },
      close: () => {
        this.#onWire.delete(read)
      },
    }
  }

  /**
   * Drops what a write to some units may have changed, and spoils the reads that are on the wire. Without a range it may
   * have changed anything.
   */
  drop(reaches: (space: string) => boolean, range: Omit<ReadBlock, 'device_id'> | null): void {
    const hit = ({ register_type, address, count }: ReadBlock) =>
      range === null ||
      (register_type === range.register_type &&
        address < range.address + range.count &&
        range.address < address + count)
    for (const read of this.#onWire) if (reaches(read.space) && hit(read.block)) read.spoiled = true
    for (const [device, entries] of this.#devices) {
      for (const [key, entry] of entries) {
        if (reaches(entry.space) && hit(entry.block)) this.#remove(device, key)
      }
    }
  }

  /** The newest covering entry within the TTL, counted as hit or miss. */
  find(block: ReadBlock): BlockReading | undefined {
    const entry = this.#covering(block)
    if (entry === undefined || !this.#isFresh(entry)) {
      this.#misses += 1
      return undefined
    }
    this.#hits += 1
    return reading(entry, block, 'good')
  }

  /** The newest covering entry whatever its age, as `stale` where the TTL has passed. Not counted. */
  lastKnown(block: ReadBlock): BlockReading | undefined {
    const entry = this.#covering(block)
    return entry === undefined ? undefined : reading(entry, block, this.#isFresh(entry) ? 'good' : 'stale')
  }

  /** Everything it holds, oldest first, for {@link restore} of a later process. */
  snapshot(): (BlockReading & { readonly space: string })[] {
    return [...this.#devices.values()]
      .flatMap((entries) => [...entries.values()])
      .sort((a, b) => a.order - b.order)
      .map((entry) => ({ ...reading(entry, entry.block, 'stale'), space: entry.space }))
  }

  /** Counts up with everything that comes or goes: the same number means the same entries. */
  get revision(): number {
    return this.#revision
  }

  /** Brings back what an earlier process knew; always stale, never over what is known better. */
  restore(readings: readonly (BlockReading & { readonly space: string })[]): void {
    for (const { space, values, timestamp, ...block } of readings) {
      if (this.#covering(block) !== undefined) continue
      this.#store({ block, space, values, timestamp, storedAt: undefined, order: ++this.#order })
    }
  }

  /** Rows of one device or of all, newest last. */
  entries(deviceId?: string): CacheEntry[] {
    const found =
      deviceId === undefined
        ? [...this.#devices.values()].flatMap((entries) => [...entries.values()])
        : [...(this.#devices.get(deviceId)?.values() ?? [])]
    return found.sort((a, b) => a.order - b.order).map((entry) => this.#row(entry))
  }

  stats(): CacheStats {
    const rows = this.entries()
    const times = rows.map((row) => row.cached_at).sort()
    return {
      total_entries: rows.length,
      devices: this.#devices.size,
      oldest_entry: times[0] ?? null,
      newest_entry: times.at(-1) ?? null,
      cache_keys: rows.map((row) => row.key),
    }
  }

  /** Empties the cache, or forgets one device. Returns how many entries went. */
  clear(deviceId?: string): number {
    if (deviceId === undefined) {
      const count = this.#size
      this.#devices.clear()
      this.#size = 0
      this.#revision += 1
      for (const read of this.#onWire) read.spoiled = true
      return count
    }
    const count = this.#devices.get(deviceId)?.size ?? 0
    this.#devices.delete(deviceId)
    this.#size -= count
    this.#revision += 1
    for (const read of this.#onWire) if (read.block.device_id === deviceId) read.spoiled = true
    return count
  }

  metrics(): CacheMetrics {
    const asked = this.#hits + this.#misses
    return {
      hits: this.#hits,
      misses: this.#misses,
      sets: this.#sets,
      evictions: this.#evictions,
      hit_rate_percent: asked === 0 ? 0 : Math.round((this.#hits / asked) * 10_000) / 100,
    }
  }

  resetMetrics(): void {
    this.#hits = this.#misses = this.#sets = this.#evictions = 0
  }

  #covering(block: ReadBlock): Entry | undefined {
    const entries = this.#devices.get(block.device_id)
    if (entries === undefined) return undefined
    let newest: Entry | undefined
    for (const entry of entries.values()) {
      if (covers(entry.block, block) && (newest === undefined || entry.order > newest.order)) newest = entry
    }
    return newest
  }

  #isFresh(entry: Entry): boolean {
    return entry.storedAt !== undefined && this.#clock.monotonic() - entry.storedAt <= this.#ttlMs
  }

  #store(entry: Entry): void {
    const device = entry.block.device_id
    let entries = this.#devices.get(device)
    if (entries === undefined) {
      entries = new Map<number, Entry>()
      this.#devices.set(device, entries)
    }
    const key = placeOf(entry.block)
    if (!entries.delete(key)) this.#size += 1
    entries.set(key, entry)
    this.#revision += 1
    if (this.#size > this.#maxEntries) this.#evictOldest(entries, device)
  }

  /** The device that stores pays: a caller that reads every address of one device must not push the others out. */
  #evictOldest(entries: Map<number, Entry>, device: string): void {
    const oldest = entries.keys().next().value
    if (oldest === undefined) return
    this.#remove(device, oldest)
    this.#evictions += 1
  }

  #remove(device: string, key: number): void {
    const entries = this.#devices.get(device)
    if (entries?.delete(key) !== true) return
    this.#size -= 1
    this.#revision += 1
    if (entries.size === 0) this.#devices.delete(device)
  }

  #row(entry: Entry): CacheEntry {
    const { device_id, register_type, address, count } = entry.block
    return {
      key: keyOf(entry.block),
      device_id,
      register_type,
      address,
      count,
      values: entry.values,
      cached_at: new Date(entry.timestamp * 1_000).toISOString(),
      age_seconds: Math.max(0, Math.round(this.#age(entry) * 1_000) / 1_000),
    }
  }

  #age(entry: Entry): number {
    const elapsed = entry.storedAt === undefined ? undefined : this.#clock.monotonic() - entry.storedAt
    return (elapsed ?? this.#clock.now() - entry.timestamp * 1_000) / 1_000
  }
}

/** A number for each block of a device, with less than 4,096 addresses: put together faster than a text. */
function placeOf({ register_type, address, count }: ReadBlock): number {
  return (REGISTER_TYPES.indexOf(register_type) * 65_536 + address) * 4_096 + count
}

function keyOf({ device_id, register_type, address, count }: ReadBlock): string {
  return `${device_id}:${register_type}:${address}:${count}`
}

function covers(outer: ReadBlock, inner: ReadBlock): boolean {
  return (
    outer.register_type === inner.register_type &&
    outer.address <= inner.address &&
    outer.address + outer.count >= inner.address + inner.count
  )
}

function reading(entry: Entry, block: ReadBlock, quality: 'good' | 'stale'): BlockReading {
  const start = block.address - entry.block.address
  return {
    device_id: block.device_id,
    register_type: block.register_type,
    address: block.address,
    count: block.count,
    values: entry.values.slice(start, start + block.count),
    source: 'cache',
    timestamp: entry.timestamp,
    quality,
  }
}
