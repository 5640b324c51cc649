import { type Clock, systemClock } from '../support/clock.js'

/** What the gateway knows of a message before it runs once more. */
export interface RunVerdict {
  /** How often its process died while it ran; 0: nothing speaks against it, and it is noted as running. */
  readonly deaths: number
  /** It is a dead letter already: this is another copy of it. */
  readonly buried: boolean
}

/** The gateway's side of {@link Suspects}, for one worker. */
export interface DeathWatch {
  /** Notes that (message, route) `id` runs from now on, unless it is under suspicion and does not say `alone`. */
  begin(id: string, alone: boolean): Promise<RunVerdict>
  /** It ran, and the process lives. */
  end(id: string): Promise<void>
  /** It was given up, and kept as a dead letter where it had to be: further copies (parked and redelivered, say) end without one. */
  bury(id: string): Promise<void>
}

interface Running {
  readonly alone: boolean
}

interface Suspicion {
  readonly deaths: number
  /** Monotonic milliseconds of when it was given up. */
  readonly buriedAt: number | undefined
}

const CLEAR: Suspicion = { deaths: 0, buriedAt: undefined }

/** Further copies come within this time; what comes later with the same bytes is another message. */
const BURIED_FOR_MS = 600_000

/** Suspects that are remembered; the oldest are forgotten first. */
const MOST = 10_000

/**
 * During which messages worker processes died. Only what comes a second time is noted here, redelivered or taken over,
 * so that a message that comes for the first time costs nothing: the first death goes by without a name, and at every
 * further one those that were noted are known.
 */
export class DeathBook {
  readonly #suspicions = new Map<string, Suspicion>()
  /** By worker: what it has begun and not ended. */
  readonly #running = new Map<string, Map<string, Running>>()
  readonly #clock: Pick<Clock, 'monotonic'>

  constructor(clock: Pick<Clock, 'monotonic'> = systemClock) {
    this.#clock = clock
  }

  forWorker(worker: string): DeathWatch {
    return {
      begin: async (id, alone) => {
        const { deaths, buriedAt } = this.#suspicionOf(id)
        if (deaths === 0 || alone) this.#runningOf(worker).set(id, { alone })
        return { deaths, buried: buriedAt !== undefined }
      },
      end: async (id) => {
        this.#running.get(worker)?.delete(id)
        this.#suspicions.delete(id)
      },
      bury: async (id) => {
        this.#running.get(worker)?.delete(id)
        const suspicion = this.#suspicions.get(id)
        if (suspicion === undefined || suspicion.buriedAt !== undefined) return
        this.#suspicions.set(id, { ...suspicion, buriedAt: this.#clock.monotonic() })
      },
    }
  }

  /** Messages under suspicion. */
  get size(): number {
    return this.#suspicions.size
  }

  /** The process is gone. Where it `died`, the one suspect that it ran is charged with it, else all that it ran. */
  lost(worker: string, died: boolean): void {
    const running = [...(this.#running.get(worker) ?? [])]
    this.#running.delete(worker)
    if (!died) return
    const suspects = running.filter(([, { alone }]) => alone)
    for (const [id] of suspects.length > 0 ? suspects : running) this.#charge(id)
  }

  #suspicionOf(id: string): Suspicion {
    const suspicion = this.#suspicions.get(id) ?? CLEAR
    if (suspicion.buriedAt === undefined || this.#clock.monotonic() - suspicion.buriedAt < BURIED_FOR_MS) {
      return suspicion
    }
    this.#suspicions.delete(id)
    return CLEAR
  }

  #charge(id: string): void {
    const { deaths, buriedAt } = this.#suspicionOf(id)
    this.#suspicions.delete(id)
    this.#suspicions.set(id, { deaths: deaths + 1, buriedAt })
    for (const oldest of this.#suspicions.keys()) {
      if (this.#suspicions.size <= MOST) return
      this.#suspicions.delete(oldest)
    }
  }

  #runningOf(worker: string): Map<string, Running> {
    const known = this.#running.get(worker)
    if (known !== undefined) return known
    const fresh = new Map<string, Running>()
    this.#running.set(worker, fresh)
    return fresh
  }
}
