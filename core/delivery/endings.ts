import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'
import { isRefusal, keepable } from './attempt-facts.js'
import { endClaim } from './claims.js'
import type { DeliveryContext } from './context.js'
import { type DeadLetters, isDeadLetter } from './dead-letters.js'
import type { ClaimOutcome, DeliveryStore } from './delivery-store.js'
import type { Parking } from './parking.js'
import type { Replies } from './replies.js'
import type { ReplyTarget } from './response-topics.js'
import type { Screening } from './screening.js'
import type { DeliveryStats } from './stats.js'
import { toStored } from './stored.js'
import type { Suspects } from './suspects.js'
import type { Unit } from './unit.js'

export interface EndingsParts {
  readonly store: DeliveryStore
  readonly replies: Replies
  readonly letters: DeadLetters
  readonly parking: Parking
  readonly screening: Screening
  /** Undefined where the death of this process would be nobody's to see. */
  readonly suspects: Suspects | undefined
  readonly stats: DeliveryStats
  readonly logger: Logger
  readonly clock: Clock
  /** Gives back the slot and the key of a unit. */
  readonly leaveQueue: (unit: Unit) => void
  readonly onFinished: (unit: Unit, ok: boolean) => void
  /** Work after an acknowledgement has ended. */
  readonly onQuiet: () => void
  /** Aborted: nothing is acknowledged, answered or kept any more. */
  readonly stop: AbortSignal
}

/** Sees to what the end of a (message, route) demands: claim, dead letter, reply, acknowledgement, in this order. */
export class Endings {
  readonly #parts: EndingsParts
  #afterwards = 0

  constructor(parts: EndingsParts) {
    this.#parts = parts
  }

  /** `ctx.terminate()` work that runs now. */
  get afterwards(): number {
    return this.#afterwards
  }

  /** The route does not run on this message. */
  skipped(unit: Unit): void {
    const { stats, leaveQueue } = this.#parts
    const message = `the route ${unit.route.id} takes no retained messages`
    unit.onEnd?.({ ok: false, error: { code: 'ROUTE_UNKNOWN', message } })
    stats.count('skipped')
    leaveQueue(unit)
    void this.#offer(unit, undefined)
    this.#finish(unit, true)
  }

  succeeded(unit: Unit, value: unknown): void {
    const { stats, leaveQueue } = this.#parts
    leaveQueue(unit)
    stats.ended(unit.route, 'handled')
    const target = value === undefined || unit.answered ? undefined : this.#targetOf(unit)
    // Most messages are neither claimed nor answered: no promise is made for them (benchmarks/cases/dispatch.ts).
    if (!unit.claimed && target === undefined) {
      if (unit.copy?.turn !== undefined) void this.#offer(unit, undefined)
      unit.onEnd?.({ ok: true, value })
      this.#finish(unit, true)
      return
    }
    this.guard(unit, this.#answerAndFinish(unit, value, target))
  }

  /** It did not work out. `harmless`: provably nothing was driven. */
  async failed(unit: Unit, error: unknown, harmless = false): Promise<void> {
    const { stats, replies, leaveQueue } = this.#parts
    const shape = toErrorShape(error, 'HANDLER_FAILED')
    leaveQueue(unit)
    stats.ended(unit.route, 'failed')
    if (shape.code === 'COMMAND_EXPIRED' || shape.code === 'COMMAND_AGE_UNKNOWN') stats.count('expired')
    if (unit.claimed) {
      if (harmless && isRefusal(error)) await this.giveClaimBack(unit)
      else await this.#endClaim(unit, { ok: false, error: shape })
    }
    const target = unit.answered ? undefined : this.#targetOf(unit)
    const answered = unit.answered || target !== undefined
    if (
      unit.onEnd === undefined &&
      !unit.copied &&
      !unit.lettered &&
      isDeadLetter(unit.message.topic, shape, answered)
    ) {
      try {
        await this.#parts.screening.clean(unit)
        const stored = toStored(unit.route.id, unit.message, unit.raw, unit)
        const letter = { ...stored, error: shape, attempts: unit.attempt, failedAt: this.#parts.clock.now() }
        await this.#parts.letters.keep(letter, this.#parts.stop)
        unit.lettered = true
      } catch (error) {
        // The process stops before the letter could be kept: unacknowledged, the message comes again.
        if (this.#parts.stop.aborted) return
        throw error
      }
    }
    this.#parts.suspects?.buried(unit)
    const send =
      target === undefined ? undefined : () => replies.error(target, unit.message, unit.route, unit.requestId, shape)
    await this.#offer(unit, send)
    unit.onEnd?.({ ok: false, error: shape })
    this.#finish(unit, false)
  }

  /** `ctx.reply()`. */
  async replyNow(unit: Unit, context: DeliveryContext, value: unknown): Promise<void> {
    if (unit.answeredBy === context) {
      throw new RouteMQError('HANDLER_FAILED', `the route ${unit.route.id} answered a message twice`)
    }
    if (unit.context !== context) return
    unit.answeredBy = context
    // An earlier attempt has answered and failed then: whoever asked has that answer.
    if (unit.answered) return
    unit.answered = true
    unit.answer = value
    const target = this.#targetOf(unit)
    if (target === undefined) return
    const { replies } = this.#parts
    await this.#offer(unit, () => replies.value(target, unit.message, unit.route, unit.requestId, value))
  }

  /** `ctx.terminate()`. */
  terminate(unit: Unit, work: () => unknown): void {
    if (unit.finished) return void this.#after(unit, work)
    unit.afterwards ??= []
    unit.afterwards.push(work)
  }

  /** Nothing was driven under the claim: whoever comes next may run the command. */
  async giveClaimBack(unit: Unit): Promise<void> {
    const { store, logger, clock } = this.#parts
    unit.claimed = false
    await endClaim(() => store.release(unit.claimKey!), { logger, clock, route: unit.route.id })
  }

  /** Its place on the lane is no longer needed: settled, or parked. */
  leaveLane(unit: Unit): void {
    if (unit.released || this.#parts.stop.aborted) return
    unit.released = true
    unit.copy?.leave()
  }

  /** A defect of this part must neither hold up a lane for ever nor lose a message: it ends as a dead letter. */
  guard(unit: Unit, work: Promise<void>): void {
    work.catch((error: unknown) => {
      if (unit.finished || this.#parts.stop.aborted) return
      const facts = { route: unit.route.id, topic: unit.message.topic, err: error }
      this.#parts.logger.error(facts, 'a delivery broke inside the engine')
      if (!unit.broken) {
        unit.broken = true
        this.guard(unit, this.failed(unit, new RouteMQError('INTERNAL', 'the delivery broke', { cause: error })))
        return
      }
      this.#parts.leaveQueue(unit)
      // The less specific routes wait for what it has to say.
      void this.#offer(unit, undefined)
      unit.onEnd?.({ ok: false, error: { code: 'INTERNAL', message: 'the delivery broke' } })
      this.#finish(unit, false)
    })
  }

  async #answerAndFinish(unit: Unit, value: unknown, target: ReplyTarget | undefined): Promise<void> {
    const { replies } = this.#parts
    if (unit.claimed) {
      await this.#endClaim(unit, { ok: true, value: unit.answered ? unit.answer : value })
    }
    const send =
      target === undefined ? undefined : () => replies.value(target, unit.message, unit.route, unit.requestId, value)
    await this.#offer(unit, send)
    unit.onEnd?.({ ok: true, value })
    this.#finish(unit, true)
  }

  #targetOf(unit: Unit): ReplyTarget | undefined {
    return this.#parts.replies.targetOf(unit.message, unit.route, unit.requestId)
  }

  #offer(unit: Unit, send: (() => Promise<void>) | undefined): Promise<void> {
    const turn = unit.copy?.turn
    if (turn !== undefined) return turn.offer(unit.rank, send)
    return send === undefined ? Promise.resolve() : send()
  }

  async #endClaim(unit: Unit, outcome: ClaimOutcome): Promise<void> {
    const { store, logger, clock } = this.#parts
    unit.claimed = false
    const kept = keepable(outcome)
    await endClaim(() => store.complete(unit.claimKey!, kept), { logger, clock, route: unit.route.id })
  }

  #finish(unit: Unit, ok: boolean): void {
    if (unit.finished) return
    unit.finished = true
    this.#parts.suspects?.finished(unit)
    if (unit.parking !== undefined || unit.parkedId !== undefined) void this.#parts.parking.finish(unit)
    this.leaveLane(unit)
    const works = unit.afterwards
    if (works !== undefined) {
      const run = () => works.forEach((work) => void this.#after(unit, work))
      if (unit.copy === undefined) run()
      else unit.copy.afterwards(run)
    }
    this.#parts.onFinished(unit, ok)
  }

  async #after(unit: Unit, work: () => unknown): Promise<void> {
    this.#afterwards += 1
    try {
      await work()
    } catch (error) {
      const facts = { route: unit.route.id, topic: unit.message.topic, err: error }
      this.#parts.logger.warn(facts, 'work after the acknowledgement failed')
    } finally {
      this.#afterwards -= 1
      this.#parts.onQuiet()
    }
  }
}
