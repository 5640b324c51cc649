import type { Route } from '../router/route.js'
import { Backoff } from '../support/backoff.js'
import { sleep } from '../support/clock.js'
import { fromErrorShape, isRetryable, RouteMQError } from '../support/errors.js'
import { asUnknown, remember, requestIdOf } from './attempt-facts.js'
import type { Bodies } from './bodies.js'
import { claimKeyOf, fromKept, payloadHashOf, takeClaim } from './claims.js'
import { type ContextServices, DeliveryContext } from './context.js'
import { Dating } from './dating.js'
import { latenessOf, refuseExpired } from './deadline.js'
import { Endings, type EndingsParts } from './endings.js'
import { decode } from './payload.js'
import type { RouteQueue } from './route-queue.js'
import { RunningUnits } from './running-units.js'
import { Screening } from './screening.js'
import { Suspects } from './suspects.js'
import type { Unit } from './unit.js'

/** Time limit of an attempt whose route names none. */
const DEFAULT_TIMEOUT_MS = 60_000
/** After its time limit an attempt has this long to learn what became of a write that is on its way. */
const WRITE_GRACE_MS = 1_000
/** Pauses before a second copy asks again whether the first has ended. */
const COPY_WAIT = { first: 50, max: 1_000 }
/** ...and before a store that cannot be read is asked again for a parked message. */
const FETCH_AGAIN_MS = 1_000

export interface RunnerParts extends Omit<EndingsParts, 'leaveQueue' | 'screening' | 'stop'> {
  readonly bodies: Bodies
  readonly queueOf: (route: Route) => RouteQueue<Unit>
  readonly services: Omit<ContextServices, 'reply' | 'terminate' | 'deadlineNow'>
  readonly random: () => number
  readonly maxPacketBytes: number
}

/** Runs one attempt of a (message, route) after another until it has an end; what follows is for {@link Endings}. */
export class Runner {
  readonly #parts: RunnerParts
  readonly #services: ContextServices
  readonly #dating: Dating
  readonly #screening: Screening
  readonly #endings: Endings
  readonly #running = new RunningUnits()
  readonly #timers = new Set<() => void>()
  readonly #stop = new AbortController()

  constructor(parts: RunnerParts) {
    this.#parts = parts
    this.#dating = new Dating(parts.clock, parts.maxPacketBytes)
    this.#services = {
      ...parts.services,
      reply: (unit, context, value) => this.#endings.replyNow(unit, context, value),
      terminate: (unit, work) => this.#endings.terminate(unit, work),
      deadlineNow: (unit) => this.#dating.deadlineNow(unit),
    }
    this.#screening = new Screening(this.#services, parts.maxPacketBytes)
    this.#endings = new Endings({
      ...parts,
      screening: this.#screening,
      leaveQueue: (unit) => this.#leaveQueue(unit),
      stop: this.#stop.signal,
    })
  }

  get running(): number {
    return this.#running.size
  }

  /** Neither does an attempt run, nor work that was given to `ctx.terminate()`. */
  get quiet(): boolean {
    return this.#running.size === 0 && this.#endings.afterwards === 0
  }

  /** The queue calls this when slot and key are free. Never throws. */
  start(unit: Unit, now: number): void {
    if (this.#stop.signal.aborted) return
    unit.startedAt = now
    unit.timedOut = false
    this.#running.add(unit)
    const { suspects } = this.#parts
    const watch = suspects !== undefined && Suspects.concerns(unit) ? suspects : undefined
    if (watch === undefined && unit.body === 'own') this.#begin(unit)
    else this.#endings.guard(unit, this.#prepare(unit, watch))
  }

  /** Brings back what was parked, and asks whether it may run where it may have ended a process before. */
  async #prepare(unit: Unit, suspects: Suspects | undefined): Promise<void> {
    const { bodies, clock, queueOf } = this.#parts
    const queue = queueOf(unit.route)
    const wait = () => {
      this.#running.delete(unit)
      if (unit.parkedId !== undefined) bodies.waits(unit)
      queue.release(unit)
    }
    if (!(await bodies.fetch(unit))) {
      wait()
      this.#again(unit, FETCH_AGAIN_MS)
      return
    }
    try {
      if (suspects !== undefined && !(await suspects.admit(unit, wait, () => queue.again(unit)))) return
    } catch (error) {
      if (!(error instanceof RouteMQError) || error.code !== 'WORKER_DIED') throw error
      unit.condemned = error
    }
    if (this.#stop.signal.aborted) return
    unit.startedAt = clock.monotonic()
    this.#begin(unit)
  }

  #begin(unit: Unit): void {
    const { route, message } = unit
    if (message.retain && !route.retained && !unit.force) {
      this.#endings.skipped(unit)
      return
    }
    let payload: unknown
    try {
      payload = decode(message, route, this.#parts.maxPacketBytes)
      unit.requestId = requestIdOf(payload)
    } catch (error) {
      this.#attemptFailed(unit, undefined, error)
      return
    }
    if (route.idempotent) this.#endings.guard(unit, this.#runClaimed(unit, payload))
    else this.#runInTime(unit, payload)
  }

  /** Takes the message off its lane where it can be kept; resolves with false where it has to stay there. */
  async park(unit: Unit): Promise<boolean> {
    if (unit.finished) return false
    if (unit.context !== undefined) remember(unit, unit.context)
    this.#dating.dateUnread(unit)
    if (!(await this.#parts.parking.park(unit, this.#screening))) return false
    if (!unit.finished) {
      this.#leaveBody(unit)
      this.#parts.queueOf(unit.route).park(unit)
    }
    this.#endings.leaveLane(unit)
    return true
  }

  /** It is parked: where it waits, it need not stay in memory. What has run and is about to end does. */
  #leaveBody(unit: Unit): void {
    const { bodies } = this.#parts
    if (unit.place === 'running') bodies.runs(unit)
    else if (unit.place !== 'gone') bodies.waits(unit)
  }

  /** Ends attempts that take longer than their route allows. */
  watch(now: number): void {
    for (const unit of this.#running) {
      const limit = unit.route.timeoutMs ?? DEFAULT_TIMEOUT_MS
      if (unit.timedOut || unit.context === undefined || now - unit.startedAt < limit) continue
      unit.timedOut = true
      void this.#timeOut(unit, unit.context, limit)
    }
  }

  /** Aborts what runs; from here on nothing is acknowledged. */
  stop(): void {
    const reason = new RouteMQError('SHUTTING_DOWN', 'the process is stopping')
    this.#stop.abort(reason)
    for (const cancel of this.#timers) cancel()
    this.#timers.clear()
    for (const unit of this.#running) unit.context?.abort(reason)
    this.#running.clear()
  }

  #runInTime(unit: Unit, payload: unknown): void {
    if (unit.condemned !== undefined) {
      this.#attemptFailed(unit, undefined, unit.condemned)
      return
    }
    try {
      this.#dating.date(unit, payload)
      if (!unit.force) refuseExpired(unit, this.#parts.clock)
    } catch (error) {
      this.#attemptFailed(unit, undefined, error)
      return
    }
    const context = new DeliveryContext(unit, payload, this.#services)
    unit.context = context
    unit.afterwards = undefined
    let running: Promise<unknown>
    try {
      running = unit.route.run(context)
    } catch (error) {
      this.#attemptFailed(unit, context, error)
      return
    }
    running.then(
      (value) => this.#attemptSucceeded(unit, context, value),
      (error: unknown) => this.#attemptFailed(unit, context, error),
    )
  }

  /** A copy of a command that has run is answered from its end; a copy of one that runs now waits for that end. */
  async #runClaimed(unit: Unit, payload: unknown): Promise<void> {
    const { store, stats } = this.#parts
    const key = claimKeyOf(unit.route, unit.message, unit.requestId)
    if (key === undefined) return this.#runInTime(unit, payload)
    unit.claimKey = key
    unit.payloadHash ??= payloadHashOf(unit.message.payload)
    try {
      const taken = await takeClaim(store, key, unit.payloadHash, {
        again: unit.onEnd !== undefined,
        force: unit.force,
      })
      if (taken.state === 'claimed') {
        unit.claimed = true
        if (!this.#stop.signal.aborted) return this.#runInTime(unit, payload)
        await store.release(key)
        return
      }
      if (this.#stop.signal.aborted) return
      if (taken.state === 'free') return this.#runInTime(unit, payload)
      if (taken.state === 'answer') {
        stats.count('duplicate')
        if (taken.outcome.ok) return this.#endings.succeeded(unit, fromKept(taken.outcome.value))
        unit.copied = true
        return this.#endings.guard(unit, this.#endings.failed(unit, fromErrorShape(taken.outcome.error)))
      }
      this.#waitNoLonger(unit)
    } catch (error) {
      return this.#attemptFailed(unit, undefined, error)
    }
    // The slot goes to others meanwhile: the first copy may need it to end.
    this.#pause(unit)
    if (unit.parkedId !== undefined) this.#leaveBody(unit)
    this.#again(unit, Math.min(COPY_WAIT.max, COPY_WAIT.first * 2 ** unit.waits++))
  }

  /**
   * Throws where a copy has waited past its own deadline and for longer than the first may run: then nothing is to come.
   * Until then it waits, because a sender that is told COMMAND_EXPIRED must not see the first copy drive afterwards.
   */
  #waitNoLonger(unit: Unit): void {
    const { clock } = this.#parts
    unit.waitsSince ??= clock.monotonic()
    const limit = (unit.route.timeoutMs ?? DEFAULT_TIMEOUT_MS) + WRITE_GRACE_MS
    if (unit.force || clock.monotonic() - unit.waitsSince < limit) return
    this.#dating.dateUnread(unit)
    refuseExpired(unit, clock)
  }

  #attemptSucceeded(unit: Unit, context: DeliveryContext, value: unknown): void {
    // Another context, or none: this attempt was given up before it ended.
    if (unit.context !== context) return
    if (this.#stop.signal.aborted && !unit.claimed) return
    remember(unit, context)
    unit.context = undefined
    this.#endings.succeeded(unit, value)
  }

  #attemptFailed(unit: Unit, context: DeliveryContext | undefined, error: unknown): void {
    if (unit.context !== context) return
    if (context !== undefined) remember(unit, context)
    unit.context = undefined
    const did = context?.field?.outcome ?? 'none'
    if (this.#stop.signal.aborted) {
      if (unit.claimed && did === 'none') void this.#endings.giveClaimBack(unit)
      return
    }
    const failure = did === 'unknown' ? asUnknown(error) : error
    if (!(failure instanceof RouteMQError)) {
      const { logger } = this.#parts
      logger.warn(
        { route: unit.route.id, topic: unit.message.topic, attempt: unit.attempt, err: failure },
        'a handler failed',
      )
    }
    // What has, or may have, reached a device is never repeated by itself.
    if (did === 'none' && this.#mayRetry(unit, failure)) this.#endings.guard(unit, this.#retry(unit, failure))
    else this.#endings.guard(unit, this.#endings.failed(unit, failure, did === 'none'))
  }

  #mayRetry(unit: Unit, error: unknown): boolean {
    return (
      isRetryable(error) && unit.attempt < unit.route.attempts && unit.onEnd === undefined && this.#parts.store.durable
    )
  }

  async #retry(unit: Unit, error: unknown): Promise<void> {
    const { clock, stats, random } = this.#parts
    unit.backoff ??= new Backoff({ random, ...unit.route.backoff })
    const delay = unit.backoff.next()
    this.#pause(unit)
    const late = latenessOf(unit, clock)
    if (late !== undefined && late + delay >= 0) return this.#endings.failed(unit, error, true)
    // Where nothing can be parked now it pauses in its place on the lane: it is parked from there when that is possible again.
    await this.park(unit)
    // Nothing was driven: should this process end during the pause, the next one may run the command.
    if (unit.claimed) await this.#endings.giveClaimBack(unit)
    unit.attempt += 1
    stats.count('retried')
    this.#again(unit, delay)
  }

  async #timeOut(unit: Unit, context: DeliveryContext, limitMs: number): Promise<void> {
    const error = new RouteMQError('HANDLER_TIMEOUT', `the route ${unit.route.id} took longer than ${limitMs} ms`, {
      details: { limit_ms: limitMs },
    })
    context.abort(error)
    if (context.field?.outcome === 'unknown') {
      const { clock } = this.#parts
      const grace = sleep(WRITE_GRACE_MS, this.#stop.signal, clock).catch(() => undefined)
      await Promise.race([context.field.idle(), grace])
    }
    // The handler may be about to end by itself, with something better to say.
    await new Promise((resolve) => setImmediate(resolve))
    this.#attemptFailed(unit, context, error)
  }

  #again(unit: Unit, delayMs: number): void {
    if (this.#stop.signal.aborted) return
    const { clock, queueOf } = this.#parts
    const cancel = clock.after(delayMs, () => {
      this.#timers.delete(cancel)
      queueOf(unit.route).again(unit)
    })
    this.#timers.add(cancel)
  }

  /** Its attempt is over, its turn in the order of its key is not. */
  #pause(unit: Unit): void {
    this.#running.delete(unit)
    this.#parts.queueOf(unit.route).release(unit)
    this.#parts.suspects?.ended(unit)
  }

  #leaveQueue(unit: Unit): void {
    // Once: the place in the order of its key that it leaves must be its own.
    if (unit.place === 'gone') return
    this.#running.delete(unit)
    this.#parts.suspects?.ended(unit)
    this.#parts.queueOf(unit.route).done(unit)
  }
}
