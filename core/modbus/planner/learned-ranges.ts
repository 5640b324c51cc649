import type { RegisterType } from '../field.js'
import type { AddressRange } from './plan-reads.js'

interface Refusal {
  count: number
  readonly exception: number
}

interface Lesson {
  readonly type: RegisterType
  /** Unwanted addresses that seem not to exist, or the address two wanted ranges meet at. */
  readonly range: AddressRange | { readonly wall: number }
  readonly learnedAt: number
}

/** Equal refusals it takes to believe that a request reaches over something that is not there. */
const REFUSALS = 3
/** A lesson is forgotten after an hour, and learned again if it is still true. */
const RECHECK_MS = 3_600_000

let versions = 0

/**
 * What a device refused to be read together. A request that joins wanted ranges and is refused three times in a row with
 * the same exception is split where it was joined.
 */
export class LearnedRanges {
  readonly #refusals = new Map<string, Refusal>()
  #lessons: Lesson[] = []
  #version = ++versions

  /** Changes with every lesson learned or forgotten, and no two devices share one: a plan of another version is old. */
  get version(): number {
    return this.#version
  }

  /** Notes a refusal of a request; `joints` are where it was joined. */
  refused(type: RegisterType, address: number, exception: number, joints: readonly AddressRange[], now: number): void {
    if (joints.length === 0) return
    const key = `${type}:${address}:${joints.map(({ from, to }) => `${from}-${to}`).join(',')}`
    const before = this.#refusals.get(key)
    const refusal = before?.exception === exception ? before : { count: 0, exception }
    refusal.count += 1
    this.#refusals.set(key, refusal)
    if (refusal.count < REFUSALS) return
    this.#refusals.delete(key)
    for (const { from, to } of joints) {
      const range = from <= to ? { from, to } : { wall: from }
      this.#lessons.push({ type, range, learnedAt: now })
    }
    this.#version = ++versions
  }

  /** An answer ends the row of refusals of the requests that begin there. */
  answered(type: RegisterType, address: number): void {
    if (this.#refusals.size === 0) return
    for (const key of this.#refusals.keys()) if (key.startsWith(`${type}:${address}:`)) this.#refusals.delete(key)
  }

  /** Forgets what is old enough to be tried again. */
  forget(now: number): void {
    if (this.#lessons.length === 0) return
    const kept = this.#lessons.filter((lesson) => now - lesson.learnedAt < RECHECK_MS)
    if (kept.length < this.#lessons.length) this.#version = ++versions
    this.#lessons = kept
  }

  gaps(type: RegisterType): AddressRange[] {
    return this.#lessons.flatMap((lesson) => (lesson.type === type && 'from' in lesson.range ? [lesson.range] : []))
  }

  walls(type: RegisterType): number[] {
    return this.#lessons.flatMap((lesson) =>
      lesson.type === type && 'wall' in lesson.range ? [lesson.range.wall] : [],
    )
  }
}

/** Where a planned read was joined: the gaps between its wanted ranges, or `{ from: n, to: n - 1 }` where they touch. */
export function jointsOf(wanted: readonly { readonly address: number; readonly count: number }[]): AddressRange[] {
  const sorted = [...wanted].sort((a, b) => a.address - b.address)
  const joints: AddressRange[] = []
  let end: number | undefined
  for (const { address, count } of sorted) {
    if (end !== undefined && address >= end) joints.push({ from: end, to: address - 1 })
    end = Math.max(end ?? 0, address + count)
  }
  return joints
}
