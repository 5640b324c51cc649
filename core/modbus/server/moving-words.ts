import { encodePoint, type ResolvedPoint, resolvePoint } from '../codec/point-codec.js'
import { extremesOf, movingSource } from './moving-value.js'
import type { MovingValue } from './unit-spec.js'

/** The registers of a value that moves: all of them of one moment. */
export interface MovingWords {
  readonly words: number
  at(elapsedMs: number): readonly number[]
}

/** @throws RangeError where it would move beyond what its type can hold. */
export function movingWords({ as, ...movement }: MovingValue, random: () => number): MovingWords {
  const source = movingSource(movement, random)
  if (as === undefined) return { words: 1, at: (ms) => [Math.round(source(ms)) & 0xffff] }
  const point = resolvePoint({ name: 'moving', address: 0, ...as })
  for (const value of extremesOf(movement)) {
    try {
      wordsOf(point, value)
    } catch (cause) {
      throw new RangeError(`a value that moves to ${value} does not fit: ${(cause as Error).message}`, { cause })
    }
  }
  let known: { readonly ms: number; readonly words: readonly number[] } | undefined
  return {
    words: point.words,
    at(ms) {
      if (known?.ms !== ms) known = { ms, words: wordsOf(point, source(ms)) }
      return known.words
    },
  }
}

function wordsOf(point: ResolvedPoint, value: number): readonly number[] {
  const encoded = encodePoint(point, value)
  if ('words' in encoded) return encoded.words
  throw new RangeError(`a value of type ${point.type} does not move by itself`)
}
