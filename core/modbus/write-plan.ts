import type { ModbusCall } from './transport/transport.js'
import type { EncodedItem, WriteLimits } from './write-item.js'

export interface WrittenRange {
  readonly register_type: 'holding' | 'coil'
  readonly address: number
  readonly count: number
}

/** One request of a write: some neighbouring items, in the caller's order. */
export interface WriteStep {
  readonly call: ModbusCall
  /** Indexes of the items it carries. */
  readonly items: readonly number[]
  /** What it writes; null for a function of the device's own, which may write anything. */
  readonly range: WrittenRange | null
  /** Sending it twice does no harm. */
  readonly safe: boolean
  readonly readable: boolean
  /** True where the registers read back are what this step wrote. */
  readonly holds: (values: readonly (number | boolean)[]) => boolean
}

interface Run {
  readonly items: number[]
  encoded: EncodedItem
  readonly safe: boolean
  readable: boolean
}

/** The requests for items in the caller's order: what lies behind the item before it joins it, nothing is reordered. */
export function planWrite(items: readonly EncodedItem[], limits: WriteLimits): WriteStep[] {
  const runs: Run[] = []
  items.forEach((encoded, index) => {
    const last = runs.at(-1)
    const joined = last?.safe === encoded.safe ? join(last.encoded, encoded, limits) : undefined
    if (last === undefined || joined === undefined) {
      runs.push({ items: [index], encoded, safe: encoded.safe, readable: encoded.readable })
    } else {
      last.items.push(index)
      last.encoded = joined
      last.readable &&= encoded.readable
    }
  })
  return runs.map((run) => step(run, limits))
}

function join(a: EncodedItem, b: EncodedItem, { maxRegisters, maxCoils }: WriteLimits): EncodedItem | undefined {
  if ('words' in a && 'words' in b && a.read === undefined && b.read === undefined) {
    const fits = a.address + a.words.length === b.address && a.words.length + b.words.length <= maxRegisters
    return fits ? { ...a, words: [...a.words, ...b.words] } : undefined
  }
  if ('bits' in a && 'bits' in b) {
    const fits = a.address + a.bits.length === b.address && a.bits.length + b.bits.length <= maxCoils
    return fits ? { ...a, bits: [...a.bits, ...b.bits] } : undefined
  }
  if ('mask' in a && 'mask' in b) {
    // Two changes of one bit keep their order as two requests.
    const apart = (~a.mask.and & ~b.mask.and & 0xffff) === 0
    if (a.address !== b.address || !apart) return undefined
    // What a mask sets outside its own bits has no effect alone, and must have none on the bits of the other.
    const or = (a.mask.or & ~a.mask.and) | (b.mask.or & ~b.mask.and)
    return { ...a, mask: { and: a.mask.and & b.mask.and, or: or & 0xffff } }
  }
  return undefined
}

function step({ items, encoded, safe, readable }: Run, { alwaysMultiple }: WriteLimits): WriteStep {
  const base = { items, safe, readable }
  if ('custom' in encoded) {
    return { ...base, call: { fc: 'raw', ...encoded.custom }, range: null, holds: () => false }
  }
  const { register_type, address } = encoded
  const over = (count: number): WrittenRange => ({ register_type, address, count })
  if ('bits' in encoded) {
    const { bits } = encoded
    const isSingle = bits.length === 1 && !alwaysMultiple
    const call: ModbusCall = isSingle ? { fc: 5, address, value: bits[0]! } : { fc: 15, address, values: bits }
    const holds = (values: readonly (number | boolean)[]) => bits.every((bit, i) => bit === Boolean(values[i]))
    return { ...base, call, range: over(bits.length), holds }
  }
  if ('mask' in encoded) {
    const { and, or } = encoded.mask
    const holds = ([value]: readonly (number | boolean)[]) => (Number(value) & ~and & 0xffff) === (or & ~and & 0xffff)
    return { ...base, call: { fc: 22, address, and, or }, range: over(1), holds }
  }
  const { words, read } = encoded
  const holds = (values: readonly (number | boolean)[]) => words.every((word, i) => word === values[i])
  const isSingle = words.length === 1 && !alwaysMultiple
  const plain: ModbusCall = isSingle ? { fc: 6, address, value: words[0]! } : { fc: 16, address, values: words }
  const call = read === undefined ? plain : exchange(address, words, read)
  return { ...base, call, range: over(words.length), holds }
}

function exchange(
  writeAddress: number,
  values: readonly number[],
  read: { readonly address: number; readonly count: number },
): ModbusCall {
  return { fc: 23, readAddress: read.address, readCount: read.count, writeAddress, values }
}
