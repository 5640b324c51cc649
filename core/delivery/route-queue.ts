import { Fifo } from '../mqtt/fifo.js'
import { FairLine } from './fair-line.js'

/** What the queue must know of a message that waits in it. */
export interface Queued {
  /** Messages of one key run one after another, in the order they were pushed; undefined runs beside all. */
  readonly key: string | undefined
  /** What shares its fortune: the parked ones of one fate do not keep those of others waiting. */
  readonly fate: string
  /** Set by the queue. */
  pool: 'live' | 'parked'
  /** Set by the queue: whose slot it holds while it runs. */
  slot: 'live' | 'parked'
  place: 'waiting' | 'ready' | 'running' | 'idle' | 'gone'
}

/**
 * The messages of one route: `concurrency` at a time, those of one key in order. A parked message leaves its slot to
 * the messages that are still held on a lane and runs in a second pool of the same size, so that one dead device does
 * not stop the others; there each fate has its turn, and none takes the last slot. A route with `concurrency: 1` stays at one whatever happens: there it is a lock.
 */
export class RouteQueue<T extends Queued> {
  readonly #concurrency: number
  readonly #start: (item: T) => void
  readonly #ready = new Fifo<T>()
  readonly #parked = new FairLine<T>()
  readonly #running = { live: 0, parked: 0 }
  /** Parked ones that run, by fate. */
  readonly #ofFate = new Map<string, number>()
  readonly #keys = new Map<string, Fifo<T>>()
  #pumping = false

  constructor(concurrency: number, start: (item: T) => void) {
    this.#concurrency = Math.max(1, concurrency)
    this.#start = start
  }

  get running(): number {
    return this.#running.live + this.#running.parked
  }

  get keys(): number {
    return this.#keys.size
  }

  /** Takes its place in the order of its key and runs as soon as that and a slot allow. */
  push(item: T): void {
    if (item.key !== undefined) {
      const line = this.#keys.get(item.key)
      if (line !== undefined) {
        line.push(item)
        item.place = 'waiting'
        return
      }
      const fresh = new Fifo<T>()
      fresh.push(item)
      this.#keys.set(item.key, fresh)
    }
    // Most messages find a free slot and nobody before them: they need not stand in line (benchmarks/cases/dispatch.ts).
    if (this.#isFree(item.pool) && !this.#pumping && (item.pool === 'live' || this.#mayTakeSlot(item.fate))) {
      this.#run(item)
      return
    }
    this.#makeReady(item)
    this.#pump()
  }

  /**
   * Moves it to the second pool; a slot it holds goes to the next. Where that pool is full, it keeps its slot until its
   * handler is done: never do more than twice `concurrency` run.
   */
  park(item: T): void {
    if (item.pool === 'parked') return
    item.pool = 'parked'
    if (item.place === 'running' && this.#running.parked < this.#concurrency) {
      this.#count(item, -1)
      item.slot = 'parked'
      this.#count(item, 1)
    }
    // The entry that stays behind in the live line is skipped when its turn comes.
    if (item.place === 'ready') this.#parked.push(item.fate, item)
    this.#pump()
  }

  /** Its handler is done: the slot is free, the key not yet. */
  release(item: T): void {
    if (item.place !== 'running') return
    item.place = 'idle'
    this.#count(item, -1)
    this.#pump()
  }

  /** After a back-off: ready again, still at the head of its key. */
  again(item: T): void {
    if (item.place !== 'idle') return
    this.#makeReady(item)
    this.#pump()
  }

  /** It has settled: the next of its key may run. */
  done(item: T): void {
    if (item.place === 'running') this.#count(item, -1)
    item.place = 'gone'
    if (item.key !== undefined) {
      const line = this.#keys.get(item.key)
      line?.shift()
      const next = line?.peek()
      if (next === undefined) this.#keys.delete(item.key)
      else this.#makeReady(next)
    }
    this.#pump()
  }

  #makeReady(item: T): void {
    item.place = 'ready'
    if (item.pool === 'live') this.#ready.push(item)
    else this.#parked.push(item.fate, item)
  }

  #pump(): void {
    // A message that fails at once comes back in here; the loop below goes on with the next instead of nesting.
    if (this.#pumping || (this.#ready.length === 0 && this.#parked.length === 0)) return
    this.#pumping = true
    try {
      while (this.#startParked() || this.#startLive());
    } finally {
      this.#pumping = false
    }
  }

  #startLive(): boolean {
    if (this.#ready.length === 0 || this.#busy('live') >= this.#concurrency) return false
    const item = this.#ready.shift()!
    if (item.place === 'ready' && item.pool === 'live') this.#run(item)
    return true
  }

  #startParked(): boolean {
    if (this.#parked.length === 0 || this.#busy('parked') >= this.#concurrency) return false
    const item = this.#parked.shift((fate) => this.#mayTakeSlot(fate))
    if (item !== undefined) this.#run(item)
    return item !== undefined
  }

  #run(item: T): void {
    item.place = 'running'
    item.slot = item.pool
    this.#count(item, 1)
    this.#start(item)
  }

  /** One slot is left to others, where there is more than one. */
  #mayTakeSlot(fate: string): boolean {
    return (this.#ofFate.get(fate) ?? 0) < Math.max(1, this.#concurrency - 1)
  }

  #count(item: T, by: 1 | -1): void {
    this.#running[item.slot] += by
    if (item.slot === 'live') return
    const count = (this.#ofFate.get(item.fate) ?? 0) + by
    if (count === 0) this.#ofFate.delete(item.fate)
    else this.#ofFate.set(item.fate, count)
  }

  #isFree(pool: 'live' | 'parked'): boolean {
    return this.#ready.length === 0 && this.#parked.length === 0 && this.#busy(pool) < this.#concurrency
  }

  #busy(pool: 'live' | 'parked'): number {
    return this.#concurrency === 1 ? this.running : this.#running[pool]
  }
}
