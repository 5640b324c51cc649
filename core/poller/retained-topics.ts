import type { Clock } from '../support/clock.js'

/** Remembers over restarts what was left retained at the broker. */
export interface RetainedStore {
  /** What earlier lives of this installation may have left there. */
  readonly before: Iterable<string>
  /** Resolves when these are remembered. Never rejects. */
  save(topics: Iterable<string>): Promise<void>
  /**
   * Those of the topics that still hold what an earlier life of this installation published. Rejects where the broker cannot
   * be asked.
   */
  ours(topics: readonly string[]): Promise<ReadonlySet<string>>
}

export interface RetainedTopicsOptions {
  /** Clears a topic; resolves with whether that is certain to happen. */
  readonly publish: (topic: string) => Promise<boolean>
  readonly store: RetainedStore | undefined
  readonly clock: Clock
}

const ASK_AGAIN_MS = 30_000

/**
 * Clears the topics that nothing publishes to any more. What an earlier life left is cleared only where nobody else has
 * published there since: a device may have moved to another installation.
 */
export class RetainedTopics {
  readonly #options: RetainedTopicsOptions
  #wanted: ReadonlySet<string> = new Set()
  #isComplete = false
  #isStarted = false
  /** What may be retained at the broker. */
  readonly #out: Set<string>
  /** Those of them of which an earlier life tells, and none of this one. */
  readonly #old: Set<string>
  #isAsking = false
  #cancelAsking = () => {}
  #isStopped = false
  /** Resolves when what is published now would not be forgotten by a process that ends right after it. */
  noted: Promise<void> | undefined

  constructor(options: RetainedTopicsOptions) {
    this.#options = options
    this.#old = new Set(options.store?.before)
    this.#out = new Set(this.#old)
  }

  /** Before this nothing is published, so nothing is there to clear but what is old. */
  start(): void {
    this.#isStarted = true
    this.want(this.#wanted, this.#isComplete)
  }

  /** These are published to from now on. `isComplete` is false where there may be others nobody knows of yet. */
  want(topics: ReadonlySet<string>, isComplete: boolean): void {
    this.#wanted = topics
    this.#isComplete = isComplete
    if (!this.#isStarted) return
    const known = this.#out.size
    for (const topic of topics) {
      this.#out.add(topic)
      this.#old.delete(topic)
    }
    if (this.#out.size > known) this.#save()
    if (!isComplete) return
    for (const topic of this.#out) if (!topics.has(topic) && !this.#old.has(topic)) void this.#clear(topic)
    if (this.#old.size > 0) void this.#clearOld()
  }

  stop(): void {
    this.#isStopped = true
    this.#cancelAsking()
  }

  async #clear(topic: string): Promise<void> {
    if ((await this.#options.publish(topic)) && !this.#wanted.has(topic) && this.#out.delete(topic)) this.#save()
  }

  async #clearOld(): Promise<void> {
    const { store, clock } = this.#options
    if (store === undefined || this.#isAsking || this.#isStopped) return
    this.#isAsking = true
    try {
      const asked = [...this.#old]
      const ours = await store.ours(asked)
      for (const topic of asked) {
        // Wanted again meanwhile, it is not old any more.
        if (!this.#old.delete(topic)) continue
        if (ours.has(topic)) void this.#clear(topic)
        else this.#out.delete(topic)
      }
      this.#save()
    } catch {
      // The broker is away, which its link says.
      if (!this.#isStopped) this.#cancelAsking = clock.after(ASK_AGAIN_MS, () => void this.#clearOld(), { unref: true })
    } finally {
      this.#isAsking = false
    }
  }

  #save(): void {
    const saving = this.#options.store?.save(this.#out).finally(() => {
      if (this.noted === saving) this.noted = undefined
    })
    this.noted = saving
  }
}
