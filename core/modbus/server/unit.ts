import type { RegisterType } from '../field.js'
import { type MovingWords, movingWords } from './moving-words.js'
import type { AddressRange, UnitSpec, Values } from './unit-spec.js'

const PAGE = 256

/** 65,536 registers or bits of which only the touched pages take memory. */
class Table {
  readonly #pages = new Map<number, Uint16Array>()

  get(address: number): number {
    return this.#pages.get(address >> 8)?.[address & 0xff] ?? 0
  }

  set(address: number, value: number): void {
    let page = this.#pages.get(address >> 8)
    if (page === undefined) {
      page = new Uint16Array(PAGE)
      this.#pages.set(address >> 8, page)
    }
    page[address & 0xff] = value
  }

  /** Addresses that are not 0, with their values. */
  *entries(): IterableIterator<[number, number]> {
    for (const [page, values] of this.#pages) {
      for (let at = 0; at < PAGE; at += 1) if (values[at] !== 0) yield [page * PAGE + at, values[at]!]
    }
  }
}

/** A register of a value that moves. */
interface MovingRegister {
  readonly value: MovingWords
  /** Address of its first register. */
  readonly first: number
}

/** The memory of one virtual unit. */
export class Unit {
  readonly spec: UnitSpec
  readonly #tables: Record<RegisterType, Table>
  readonly #moving = { holding: new Map<number, MovingRegister>(), input: new Map<number, MovingRegister>() }
  readonly #elapsed: () => number
  readonly #halted = new Set<number>()
  #now = 0

  constructor(spec: UnitSpec, elapsed: () => number, random: () => number) {
    this.spec = spec
    this.#elapsed = elapsed
    this.#tables = {
      holding: filled(spec.holding),
      input: filled(spec.input),
      coil: filled(spec.coils),
      discrete: filled(spec.discrete),
    }
    for (const type of ['holding', 'input'] as const) {
      for (const [address, moving] of Object.entries(spec.moving?.[type] ?? {})) {
        const value = movingWords(moving, random)
        const first = Number(address)
        for (let at = first; at < first + value.words; at += 1) this.#moving[type].set(at, { value, first })
      }
    }
  }

  /** Lets what moves go on to now. Until the next call everything is of this moment, whatever reads it. */
  tick(): void {
    this.#now = this.#elapsed()
  }

  /** 0 to 65535 for registers, 0 or 1 for bits. */
  get(type: RegisterType, address: number): number {
    if (type === 'holding' || type === 'input') {
      const moving = this.#moving[type].size === 0 ? undefined : this.#moving[type].get(address)
      if (moving !== undefined) return moving.value.at(this.#now)[address - moving.first]!
    }
    return this.#tables[type].get(address)
  }

  /** A value that moved by itself stops at what is set; its other registers at what they hold. */
  set(type: RegisterType, address: number, value: number): void {
    if (type === 'holding' || type === 'input') this.#halt(type, address)
    this.#tables[type].set(address, type === 'coil' || type === 'discrete' ? Number(value !== 0) : value & 0xffff)
  }

  /** First addresses of the holding registers that moved by themselves until they were set. */
  get halted(): ReadonlySet<number> {
    return this.#halted
  }

  /** Stops the value that moves in a holding register, where one does. */
  halt(address: number): void {
    this.#halt('holding', address)
  }

  #halt(type: 'holding' | 'input', address: number): void {
    const moving = this.#moving[type].get(address)
    if (moving === undefined) return
    if (type === 'holding') this.#halted.add(moving.first)
    moving.value.at(this.#now).forEach((word, index) => {
      this.#moving[type].delete(moving.first + index)
      this.#tables[type].set(moving.first + index, word)
    })
  }

  /** Puts values in place of a whole table; what still moves by itself goes on moving. */
  replace(type: RegisterType, values: Readonly<Record<string, number>>): void {
    this.#tables[type] = filled(values)
  }

  has(type: RegisterType, address: number, count: number): boolean {
    return isInside(this.spec.ranges?.[type], address, count)
  }

  isReadOnly(type: 'holding' | 'coil', address: number, count: number): boolean {
    return this.spec.readOnly?.[type]?.some(([first, last]) => address <= last && address + count - 1 >= first) ?? false
  }

  /** Addresses that hold something else than 0, with their values. */
  entries(type: RegisterType): IterableIterator<[number, number]> {
    return this.#tables[type].entries()
  }
}

/** True where every address lies in a range; several ranges that touch may share a request. */
function isInside(ranges: readonly AddressRange[] | undefined, address: number, count: number): boolean {
  if (address + count > 0x10000) return false
  if (ranges === undefined) return true
  let next = address
  const end = address + count
  for (let found = true; found && next < end; ) {
    found = false
    for (const [first, last] of ranges) {
      if (first <= next && next <= last) {
        next = last + 1
        found = true
      }
    }
  }
  return next >= end
}

function filled(values: Values<number | boolean> | undefined): Table {
  const table = new Table()
  for (const [address, value] of Object.entries(values ?? {})) {
    if (!Number.isInteger(Number(address)) || Number(address) < 0 || Number(address) > 0xffff) {
      throw new RangeError(`address ${address} is not an integer from 0 to 65535`)
    }
    table.set(Number(address), Number(value))
  }
  return table
}
