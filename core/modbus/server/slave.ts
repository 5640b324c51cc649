import { type Logger, silentLogger } from '../../observability/logger.js'
import { type Clock, systemClock } from '../../support/clock.js'
import type { RegisterType } from '../field.js'
import { type Fault, Faults } from './faults.js'
import type { StoredRegisters } from './register-store.js'
import { DEVICE_FAILURE, exception, type Outcome, serve } from './requests.js'
import type { RequestFrame, ServerFraming } from './server-framing.js'
import { Unit } from './unit.js'
import type { UnitSpec } from './unit-spec.js'

/** Registers or coils that a master wrote. */
export interface ReceivedWrite {
  /** Unix milliseconds. */
  readonly at: number
  readonly unit: number
  readonly type: 'holding' | 'coil'
  readonly address: number
  readonly values: readonly number[]
}

/** Where answers go: a socket, a datagram's sender, a line. */
export interface Peer {
  send(bytes: Buffer): void
  /** Drops the connection, where there is one. */
  reset(): void
}

export interface SlaveOptions {
  /** What is in which unit, 0 to 255. */
  readonly units: Readonly<Record<number, UnitSpec>>
  /** Writes kept in the log; older ones are dropped. @default 10_000 */
  readonly logLimit?: number
  /** @default systemClock */
  readonly clock?: Clock
  /** For values that walk, and for babble. @default Math.random */
  readonly random?: () => number
  /** @default silentLogger */
  readonly logger?: Logger
}

/** Answers that are held back at once; what is more gets none. */
const MOST_DELAYED = 10_000

/** The units behind one or more channels: takes request frames and gives answer frames. Knows no sockets. */
export class Slave {
  readonly faults = new Faults()
  readonly #units = new Map<number, Unit>()
  readonly #listeners = new Set<(write: ReceivedWrite) => void>()
  #onChange = () => {}
  readonly #clock: Clock
  readonly #random: () => number
  readonly #logLimit: number
  readonly #logger: Logger
  readonly #delayed = new Set<() => void>()
  #log: ReceivedWrite[] = []
  #requests = 0

  constructor(options: SlaveOptions) {
    const { units, logLimit = 10_000, clock = systemClock, random = Math.random, logger = silentLogger } = options
    this.#logger = logger
    this.#clock = clock
    this.#random = random
    this.#logLimit = logLimit
    const start = clock.monotonic()
    for (const [id, spec] of Object.entries(units)) {
      this.#units.set(Number(id), new Unit(spec, () => clock.monotonic() - start, random))
    }
  }

  /** Newest last. */
  get log(): readonly ReceivedWrite[] {
    return this.#log.slice(-this.#logLimit)
  }

  /** Requests to units that exist here, broadcasts included. */
  get requests(): number {
    return this.#requests
  }

  get units(): ReadonlyMap<number, Unit> {
    return this.#units
  }

  get(unit: number, type: RegisterType, address: number): number {
    const target = this.#unit(unit)
    target.tick()
    return target.get(type, address)
  }

  set(unit: number, type: RegisterType, address: number, value: number | boolean): void {
    const target = this.#unit(unit)
    target.tick()
    target.set(type, address, Number(value))
    this.#onChange()
  }

  onWrite(listener: (write: ReceivedWrite) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  /** Calls back after every change of a register or coil, from outside or inside. There is one listener. */
  onChange(listener: () => void): void {
    this.#onChange = listener
  }

  /** What is to survive a restart. */
  snapshot(): StoredRegisters {
    const units = [...this.#units].map(([id, unit]) => {
      const of = (type: 'holding' | 'coil') => Object.fromEntries(unit.entries(type))
      return [String(id), { holding: of('holding'), coil: of('coil'), halted: [...unit.halted] }] as const
    })
    return Object.fromEntries(units)
  }

  /** Puts a snapshot in place of what is there; units that do not exist any more are passed over. */
  restore(stored: StoredRegisters): void {
    for (const [id, unit] of this.#units) {
      const registers = stored[String(id)]
      if (registers === undefined) continue
      for (const first of registers.halted ?? []) unit.halt(first)
      for (const type of ['holding', 'coil'] as const) unit.replace(type, registers[type])
    }
  }

  /** Carries a request out and answers it, unless it is for somebody else, for all, or a fault says otherwise. */
  receive(request: RequestFrame, framing: ServerFraming, peer: Peer): void {
    const { unit, pdu } = request
    if (unit === 0 && !framing.hasTransactionIds) {
      for (const [id, each] of this.#units) this.#run(each, id, pdu)
      return
    }
    const target = this.#units.get(unit)
    if (target === undefined) return
    const fault = this.faults.take(unit, pdu[0]!)
    if (fault?.kind === 'deaf') return
    if (fault?.kind === 'exception') {
      this.#requests += 1
      peer.send(framing.encode(request.transaction, unit, exception(pdu[0]!, fault.code)))
      return
    }
    const answer = this.#run(target, unit, pdu)
    if (fault === undefined) peer.send(framing.encode(request.transaction, unit, answer))
    else this.#misbehave(fault, request, answer, framing, peer)
  }

  /** Drops answers that are still being delayed. */
  close(): void {
    for (const cancel of this.#delayed) cancel()
    this.#delayed.clear()
  }

  #unit(id: number): Unit {
    const unit = this.#units.get(id)
    if (unit === undefined) throw new RangeError(`there is no unit ${id}`)
    return unit
  }

  #run(unit: Unit, id: number, pdu: Buffer): Buffer {
    this.#requests += 1
    unit.tick()
    const { answer, written } = this.#serve(unit, id, pdu)
    if (written !== undefined) {
      this.#onChange()
      const write: ReceivedWrite = { at: this.#clock.now(), unit: id, ...written }
      this.#log.push(write)
      // Twice the limit before cutting, so that cutting costs nothing per write.
      if (this.#log.length >= 2 * this.#logLimit) this.#log = this.#log.slice(-this.#logLimit)
      for (const listener of this.#listeners) this.#tell(listener, write)
    }
    return answer
  }

  /** A function of the unit's own that throws is a device that failed at it; the other masters and units go on. */
  #serve(unit: Unit, id: number, pdu: Buffer): Outcome {
    try {
      return serve(unit, id, pdu)
    } catch (error) {
      this.#logger.error({ err: error, unit: id, function: pdu[0] }, 'a function of a virtual device threw')
      return { answer: exception(pdu[0]!, DEVICE_FAILURE), written: undefined }
    }
  }

  /** The master's answer does not depend on who listens. */
  #tell(listener: (write: ReceivedWrite) => void, write: ReceivedWrite): void {
    try {
      listener(write)
    } catch (error) {
      this.#logger.error({ err: error, unit: write.unit }, 'a listener for writes to a virtual device threw')
    }
  }

  #misbehave(fault: Fault, request: RequestFrame, answer: Buffer, framing: ServerFraming, peer: Peer): void {
    const { transaction, unit } = request
    const frame = framing.encode(transaction, unit, answer)
    switch (fault.kind) {
      case 'reset':
        peer.reset()
        break
      case 'delay':
        this.#later(fault.ms, () => peer.send(frame))
        break
      case 'wrong_unit':
        peer.send(framing.encode(transaction, (unit % 247) + 1, answer))
        break
      case 'wrong_transaction':
        peer.send(framing.encode((transaction + 1) & 0xffff, unit, answer))
        break
      case 'wrong_function':
        peer.send(framing.encode(transaction, unit, Buffer.from([(answer[0]! % 100) + 1, ...answer.subarray(1)])))
        break
      case 'duplicate':
        peer.send(frame)
        peer.send(frame)
        break
      case 'split': {
        const at = Math.min(Math.max(1, fault.at ?? frame.length >> 1), frame.length - 1)
        peer.send(frame.subarray(0, at))
        this.#later(fault.ms, () => peer.send(frame.subarray(at)))
        break
      }
      case 'babble': {
        const noise = Array.from({ length: fault.bytes ?? 16 }, () => Math.floor(this.#random() * 256))
        peer.send(Buffer.concat([Buffer.from(noise), frame]))
        break
      }
      case 'bad_checksum':
        peer.send(framing.corrupt(frame))
        break
      // Nothing is answered; deaf units and exceptions were dealt with before.
      case 'silence':
      case 'deaf':
      case 'exception':
        break
    }
  }

  #later(ms: number, run: () => void): void {
    if (this.#delayed.size >= MOST_DELAYED) return
    const cancel = this.#clock.after(ms, () => {
      this.#delayed.delete(cancel)
      run()
    })
    this.#delayed.add(cancel)
  }
}
