import { WriteDebts } from './write-debts.js'

/** What waits on a bus, highest first: a write, a poll that is due, a read somebody waits for, a probe of a silent unit. */
export const JOB_CLASSES = ['write', 'poll', 'read', 'probe'] as const
export type JobClass = (typeof JOB_CLASSES)[number]

export interface QueueJob {
  readonly device: string
  readonly unit: number
  readonly kind: JobClass
  /** Monotonic milliseconds of the slot a poll belongs to, and the interval of its grid. */
  readonly dueAt?: number | undefined
  readonly intervalMs?: number | undefined
}

/** So many jobs of a higher class may go before one that waits below passes. */
const PASS_AFTER = 8

/**
 * The order of one bus: write, due poll, live read, probe; after 8 jobs of higher classes one job of the lower class
 * passes. Writes leave waiting polls half of the bus: after 8 of one device, or after each from the moment a poll is
 * late, polls go for as long as those took. A device that is written now and then does not wait for that.
 * Fair between devices (round-robin), first in first out per device and class. Pure: it knows neither clock nor wire.
 */
export class BusQueue<J extends QueueJob> {
  readonly #lanes: Record<JobClass, Map<string, J[]>> = {
    write: new Map(),
    poll: new Map(),
    read: new Map(),
    probe: new Map(),
  }
  /** Jobs of higher classes that went since one of this class did, while one was waiting that could have gone. */
  readonly #passedOver: Record<JobClass, number> = { write: 0, poll: 0, read: 0, probe: 0 }
  readonly #debts = new WriteDebts()
  #size = 0

  get size(): number {
    return this.#size
  }

  /** True where somebody waits for an answer: a write or a live read. */
  hasCommands(): boolean {
    return this.#lanes.write.size > 0 || this.#lanes.read.size > 0
  }

  /** Jobs of one class that wait for one device. */
  waiting(kind: JobClass, device: string): number {
    return this.#lanes[kind].get(device)?.length ?? 0
  }

  add(job: J): void {
    const lane = this.#lanes[job.kind]
    const jobs = lane.get(job.device)
    if (jobs === undefined) lane.set(job.device, [job])
    else jobs.push(job)
    this.#size += 1
  }

  /** Adds a job that had its turn in vain: it is the first of its class once more. */
  putBack(job: J): void {
    const lane = this.#lanes[job.kind]
    const others = [...lane].filter(([device]) => device !== job.device)
    const own = lane.get(job.device) ?? []
    lane.clear()
    lane.set(job.device, [job, ...own])
    for (const [device, jobs] of others) lane.set(device, jobs)
    this.#size += 1
  }

  /**
   * The job whose turn it is among those for which `ready` holds; it stays in the queue until {@link remove} or
   * {@link commit}. A write that is not ready holds its unit back from all others, so that one that waits for its unit to
   * fall silent is not overtaken for ever.
   */
  peek(now: number, ready: (job: J) => boolean): J | undefined {
    const ahead = this.#ahead(now, ready)
    if (ahead !== undefined) return ahead
    for (const kind of JOB_CLASSES) {
      const job = this.#first(kind, ready)
      if (job !== undefined) return job
    }
    return undefined
  }

  /** Takes a job that {@link peek} named for the same `ready` out and moves the turn on. */
  commit(job: J, ready: (job: J) => boolean): void {
    let below = false
    for (const kind of JOB_CLASSES) {
      if (kind === job.kind) {
        this.#passedOver[kind] = 0
        below = true
      } else if (below) {
        if (this.#lanes[kind].size === 0) this.#passedOver[kind] = 0
        else if (this.#first(kind, ready) !== undefined) this.#passedOver[kind] += 1
      }
    }
    this.remove(job)
    // Round-robin: the device goes to the end of its class.
    const lane = this.#lanes[job.kind]
    const rest = lane.size > 1 ? lane.get(job.device) : undefined
    if (rest !== undefined) {
      lane.delete(job.device)
      lane.set(job.device, rest)
    }
  }

  /** Notes for how long a job that went held the bus, until `now`. */
  ended({ kind, device }: J, ms: number, now: number): void {
    if (this.#lanes.poll.size === 0) this.#debts.clear()
    else if (kind === 'write') this.#debts.took(device, ms, now)
    else if (kind === 'poll') this.#debts.paid(ms)
  }

  remove(job: J): boolean {
    const lane = this.#lanes[job.kind]
    const jobs = lane.get(job.device)
    const at = jobs?.indexOf(job) ?? -1
    if (jobs === undefined || at < 0) return false
    if (at === 0) jobs.shift()
    else jobs.splice(at, 1)
    if (jobs.length === 0) lane.delete(job.device)
    this.#size -= 1
    return true
  }

  /** Empties the queue, highest class first. */
  drain(): J[] {
    const jobs = JOB_CLASSES.flatMap((kind) => [...this.#lanes[kind].values()].flat())
    for (const kind of JOB_CLASSES) this.#lanes[kind].clear()
    this.#size = 0
    return jobs
  }

  /** Who goes before the usual order: a class that was passed over too often, then polls that are owed time. */
  #ahead(now: number, ready: (job: J) => boolean): J | undefined {
    for (const kind of JOB_CLASSES) {
      if (this.#passedOver[kind] < PASS_AFTER) continue
      const job = this.#first(kind, ready)
      if (job !== undefined) return job
    }
    if (!this.#debts.any || this.#lanes.write.size === 0 || this.#lanes.poll.size === 0) return undefined
    const limit = this.#isPollLate(now) ? 1 : PASS_AFTER
    const free = (job: J) => this.#debts.writes(job.device, now) < limit && ready(job)
    return this.#first('write', free) ?? this.#first('poll', ready)
  }

  #first(kind: JobClass, ready: (job: J) => boolean): J | undefined {
    for (const [job] of this.#lanes[kind].values()) {
      if (job !== undefined && ready(job) && !this.#isHeld(job, ready)) return job
    }
    return undefined
  }

  /** True where a write waits for the unit to fall silent. */
  #isHeld({ kind, unit }: J, ready: (job: J) => boolean): boolean {
    if (kind === 'write') return false
    for (const [write] of this.#lanes.write.values()) if (write?.unit === unit && !ready(write)) return true
    return false
  }

  /** By half its interval: a poll that ends after a whole one has cost the next slot, and every second slot is half its rate. */
  #isPollLate(now: number): boolean {
    for (const [job] of this.#lanes.poll.values()) {
      if (job?.dueAt === undefined || job.intervalMs === undefined) continue
      if (now - job.dueAt >= job.intervalMs / 2) return true
    }
    return false
  }
}
