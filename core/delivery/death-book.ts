import { type Clock, systemClock } from '../support/clock.js'
import type { DeathFile, KeptSuspicion } from './death-file.js'

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
  /** Monotonic milliseconds of the last death. */
  readonly diedAt: number
  /** ...and of when it was given up. */
  readonly buriedAt: number | undefined
}

const CLEAR: Suspicion = { deaths: 0, diedAt: 0, buriedAt: undefined }

/** Further copies come within this time; what comes later with the same bytes is another message. */
const BURIED_FOR_MS = 600_000
/** What has not come again for so long will not; the same bytes are another message then. */
const SUSPECTED_FOR_MS = 24 * 3_600_000
/** Acquittals are written together: one that is not on disk costs its message a run alone. */
const WRITE_MS = 1_000

/** Suspects that are remembered; the oldest are forgotten first. */
const MOST = 10_000

/**
 * During which messages worker processes died. Only what comes a second time is noted here, redelivered or taken over,
 * so that a message that comes for the first time costs nothing: the first death goes by without a name, and at every
 * further one those that were noted are known. How often outlives this process, where there is a file.
 */
export class DeathBook {
  readonly #suspicions = new Map<string, Suspicion>()
  /** By worker: what it has begun and not ended. */
  readonly #running = new Map<string, Map<string, Running>>()
  readonly #clock: Clock
  readonly #file: Pick<DeathFile, 'read' | 'write'> | undefined
  #cancelWrite: (() => void) | undefined

  /** With a `file` the next gateway goes on from there. */
  constructor(file?: Pick<DeathFile, 'read' | 'write'>, clock: Clock = systemClock) {
    this.#file = file
    this.#clock = clock
    for (const kept of file?.read() ?? []) {
      const buriedAt = kept.buriedAt === undefined ? undefined : this.#fromWall(kept.buriedAt)
      this.#suspicions.set(kept.id, { deaths: kept.deaths, diedAt: this.#fromWall(kept.diedAt), buriedAt })
    }
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
        if (this.#suspicions.delete(id)) this.#writeSoon()
      },
      bury: async (id) => {
        this.#running.get(worker)?.delete(id)
        const suspicion = this.#suspicions.get(id)
        if (suspicion === undefined || suspicion.buriedAt !== undefined) return
        this.#suspicions.set(id, { ...suspicion, buriedAt: this.#clock.monotonic() })
        this.#write(true)
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
    if (running.length > 0) this.#write(true)
  }

  /** Before the process ends. */
  flush(): void {
    if (this.#cancelWrite !== undefined) this.#write(false)
  }

  #suspicionOf(id: string): Suspicion {
    const suspicion = this.#suspicions.get(id) ?? CLEAR
    const { diedAt, buriedAt } = suspicion
    const now = this.#clock.monotonic()
    const over = buriedAt === undefined ? now - diedAt >= SUSPECTED_FOR_MS : now - buriedAt >= BURIED_FOR_MS
    if (!over) return suspicion
    if (this.#suspicions.delete(id)) this.#writeSoon()
    return CLEAR
  }

  #charge(id: string): void {
    const { deaths, buriedAt } = this.#suspicionOf(id)
    this.#suspicions.delete(id)
    this.#suspicions.set(id, { deaths: deaths + 1, diedAt: this.#clock.monotonic(), buriedAt })
    for (const oldest of this.#suspicions.keys()) {
      if (this.#suspicions.size <= MOST) return
      this.#suspicions.delete(oldest)
    }
  }

  #writeSoon(): void {
    this.#cancelWrite ??= this.#clock.after(WRITE_MS, () => this.#write(false), { unref: true })
  }

  #write(sync: boolean): void {
    this.#cancelWrite?.()
    this.#cancelWrite = undefined
    const kept = [...this.#suspicions].map(([id, { deaths, diedAt, buriedAt }]): KeptSuspicion => {
      const buried = buriedAt === undefined ? {} : { buriedAt: this.#toWall(buriedAt) }
      return { id, deaths, diedAt: this.#toWall(diedAt), ...buried }
    })
    this.#file?.write(kept, { sync })
  }

  #toWall(monotonic: number): number {
    return this.#clock.now() - (this.#clock.monotonic() - monotonic)
  }

  /** A wall clock that was set back since must not make it younger than this process knows it to be. */
  #fromWall(wall: number): number {
    return this.#clock.monotonic() - Math.max(0, this.#clock.now() - wall)
  }

  #runningOf(worker: string): Map<string, Running> {
    const known = this.#running.get(worker)
    if (known !== undefined) return known
    const fresh = new Map<string, Running>()
    this.#running.set(worker, fresh)
    return fresh
  }
}
