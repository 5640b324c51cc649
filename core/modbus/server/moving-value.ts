import type { Movement } from './unit-spec.js'

/** The value at `elapsedMs` since the start. */
export type MovingSource = (elapsedMs: number) => number

/** After a long pause a walk goes on from a fresh point instead of walking every missed step. */
const MAX_STEPS_AT_ONCE = 10_000

/** `random` gives 0 to 1. */
export function movingSource(spec: Movement, random: () => number): MovingSource {
  switch (spec.kind) {
    case 'sine':
      return (ms) => spec.centre + spec.amplitude * Math.sin((2 * Math.PI * ms) / spec.periodMs)
    case 'ramp':
      return (ms) => spec.from + (spec.to - spec.from) * ((ms % spec.periodMs) / spec.periodMs)
    case 'replay': {
      if (spec.values.length === 0) throw new RangeError('a replay needs at least one value')
      return (ms) => spec.values[Math.floor(ms / spec.everyMs) % spec.values.length]!
    }
    case 'walk': {
      let value = spec.start
      let walked = 0
      return (ms) => {
        const due = Math.floor(ms / spec.everyMs)
        walked = Math.max(walked, due - MAX_STEPS_AT_ONCE)
        for (; walked < due; walked += 1) {
          value = Math.min(spec.max, Math.max(spec.min, value + (2 * random() - 1) * spec.step))
        }
        return value
      }
    }
  }
}

/** The values it comes to at most; a recording is every one of them. */
export function extremesOf(spec: Movement): readonly number[] {
  switch (spec.kind) {
    case 'sine':
      return [spec.centre - spec.amplitude, spec.centre + spec.amplitude]
    case 'ramp':
      return [spec.from, spec.to]
    case 'walk':
      return [spec.start, spec.min, spec.max]
    case 'replay':
      return spec.values
  }
}
