import type { RegisterType } from '../field.js'
import type { Wanted } from './plan-reads.js'
import { nextPlanVersion } from './plan-version.js'
import { type Culprit, REFUSALS, type RefusalSearch, searchRefusal, sortedRanges } from './refusal-search.js'

interface Refusal {
  count: number
  readonly exception: number
  isSearched: boolean
}

/** What a device refuses, and when that was seen last. */
export interface Lesson extends Culprit {
  readonly type: RegisterType
  /** Monotonic milliseconds. */
  readonly seenAt: number
}

/** So many times more answers it takes the next time. */
const SLOWER = 8
/** A lesson that is an hour old is looked at again. */
const RECHECK_MS = 3_600_000

/**
 * What a device refused to be read together. A request that joins wanted ranges and is refused three times in a row with the
 * same exception is searched for its culprits.
 */
export class LearnedRanges {
  readonly #refusals = new Map<string, Refusal>()
  /** Answers in a row of ranges that were said to be refused by themselves. */
  readonly #answers = new Map<string, number>()
  /** How many of them it takes, where not {@link REFUSALS}. */
  readonly #patience = new Map<string, number>()
  #lessons: readonly Lesson[] = []
  #version = nextPlanVersion()

  /** Changes with every lesson learned or forgotten, and no two devices share one: a plan of another version is old. */
  get version(): number {
    return this.#version
  }

  /** True where nothing was learned and no refusal waits for the next. */
  get isBlank(): boolean {
    return this.#lessons.length === 0 && this.#refusals.size === 0
  }

  get lessons(): readonly Lesson[] {
    return this.#lessons
  }

  /** Notes the refusal of a request over these ranges; the third in a row begins a search, which is to be ended. */
  refused(type: RegisterType, wanted: readonly Wanted[], exception: number): RefusalSearch | undefined {
    const key = keyOf(type, wanted)
    this.#answers.delete(key)
    if (sortedRanges(wanted).length < 2) return undefined
    const before = this.#refusals.get(key)
    const refusal = before?.exception === exception ? before : { count: 0, exception, isSearched: false }
    refusal.count += 1
    this.#refusals.set(key, refusal)
    if (refusal.count < REFUSALS || refusal.isSearched) return undefined
    refusal.isSearched = true
    return searchRefusal(wanted, exception)
  }

  /**
   * An answer ends the row of refusals of a request. A range that was refused by itself and is answered again as often is
   * good: a device that starts may refuse for a while what it has. One that comes and goes costs its neighbours values each
   * time, so it is believed ever more slowly.
   */
  answered(type: RegisterType, wanted: readonly Wanted[]): void {
    const key = keyOf(type, wanted)
    this.#refusals.delete(key)
    const [range, ...more] = sortedRanges(wanted)
    const lesson = more.length === 0 ? this.#lessons.find((one) => isAbout(one, type, range!)) : undefined
    if (lesson === undefined) return
    const answers = (this.#answers.get(key) ?? 0) + 1
    this.#answers.set(key, answers)
    const enough = this.#patience.get(key) ?? REFUSALS
    if (answers < enough) return
    this.#answers.delete(key)
    this.#patience.set(key, enough * SLOWER)
    this.#lessons = this.#lessons.filter((one) => !isAbout(one, type, range!))
    this.#version = nextPlanVersion()
  }

  /** Ends a search with what it found; where it was cut off, with nothing: then the next refusals begin anew. */
  learn(type: RegisterType, wanted: readonly Wanted[], culprits: readonly Culprit[], now: number): void {
    this.#refusals.delete(keyOf(type, wanted))
    if (culprits.length === 0) return
    this.#lessons = [...this.#lessons, ...culprits.map((culprit) => ({ ...culprit, type, seenAt: now }))]
    this.#version = nextPlanVersion()
  }

  /** A lesson about this range that is to be looked at again: it is given out once an hour. */
  due(type: RegisterType, { address, count }: Wanted, now: number): Lesson | undefined {
    const old = this.#lessons.find(
      (lesson) =>
        now - lesson.seenAt >= RECHECK_MS &&
        lesson.type === type &&
        lesson.from < address + count &&
        address <= lesson.to,
    )
    if (old === undefined) return undefined
    const seen = { ...old, seenAt: now }
    this.#lessons = this.#lessons.map((lesson) => (lesson === old ? seen : lesson))
    return seen
  }

  /** All lessons but those about the place of this one. */
  without({ type, from, to }: Lesson): readonly Lesson[] {
    return this.#lessons.filter((lesson) => lesson.type !== type || lesson.to < from || to < lesson.from)
  }

  /** What was learned about a place is true no more. */
  forget(lesson: Lesson): void {
    this.#lessons = this.without(lesson)
    this.#version = nextPlanVersion()
  }
}

/** Whether a lesson says that this range is refused by itself. */
function isAbout({ kind, type, from, to }: Lesson, asked: RegisterType, { address, count }: Wanted): boolean {
  return kind === 'alone' && type === asked && from === address && to === address + count - 1
}

function keyOf(type: RegisterType, wanted: readonly Wanted[]): string {
  return `${type}:${sortedRanges(wanted).map(({ address, count }) => `${address}+${count}`)}`
}
