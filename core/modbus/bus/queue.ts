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
 * The order of one bus: write, due poll, live read, probe; after 8 jobs of higher classes, or when a poll is a whole
 * interval overdue, one job of the lower class passes. Fair between devices (round-robin), first in first out per
 * device and class. Pure: it knows neither clock nor wire.
 */
export class BusQueue<J extends QueueJob> {
  readonly #lanes: Record<JobClass, Map<string, J[]>> = {
    write: new Map(),
    poll: new Map(),
    read: new Map(),
    probe: new Map(),
  }
  /** Jobs of higher classes that went since one of this class did, while one was waiting. */
  readonly #passedOver: Record<JobClass, number> = { write: 0, poll: 0, read: 0, probe: 0 }
  /** A write went and no poll after it: only then does an overdue poll pass a write. */
  #wroteSincePoll = false
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

  /**
   * The job whose turn it is among those for which `ready` holds; it stays in the queue until {@link remove} or
   * {@link commit}. A job that is not ready holds its unit back from lower classes, so that a write waiting for its unit
   * to fall silent is not overtaken for ever.
   */
  peek(now: number, ready: (job: J) => boolean): J | undefined {
    let held: Set<number> | undefined
    for (const kind of this.#order(now)) {
      if (this.#lanes[kind].size === 0) continue
      for (const jobs of this.#lanes[kind].values()) {
        const job = jobs[0]!
        if (held?.has(job.unit) === true) continue
        if (ready(job)) return job
        held ??= new Set()
        held.add(job.unit)
      }
    }
    return undefined
  }

  /** Takes a job that {@link peek} named out and moves the turn on. */
  commit(job: J): void {
    if (job.kind === 'write') this.#wroteSincePoll = true
    else if (job.kind === 'poll') this.#wroteSincePoll = false
    let below = false
    for (const kind of JOB_CLASSES) {
      if (kind === job.kind) {
        this.#passedOver[kind] = 0
        below = true
      } else if (below) {
        this.#passedOver[kind] = this.#lanes[kind].size > 0 ? this.#passedOver[kind] + 1 : 0
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

  #order(now: number): readonly JobClass[] {
    let starving: JobClass[] | undefined
    for (const kind of JOB_CLASSES) {
      if (this.#lanes[kind].size === 0) continue
      if (this.#passedOver[kind] < PASS_AFTER && !this.#overdue(kind, now)) continue
      starving ??= []
      starving.push(kind)
    }
    if (starving === undefined) return JOB_CLASSES
    const first = starving
    return [...first, ...JOB_CLASSES.filter((kind) => !first.includes(kind))]
  }

  #overdue(kind: JobClass, now: number): boolean {
    if (kind !== 'poll' || !this.#wroteSincePoll || this.#lanes.write.size === 0) return false
    for (const [job] of this.#lanes.poll.values()) {
      if (job?.dueAt !== undefined && now - job.dueAt >= (job.intervalMs ?? Number.POSITIVE_INFINITY)) return true
    }
    return false
  }
}
