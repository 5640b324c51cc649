import { EventEmitter } from 'node:events'
import modbusSerial from 'modbus-serial'
import { crc16 } from './checksum.js'
import type { ModbusCall } from './transport.js'

const ModbusRTU = modbusSerial.default

/** Words or bits as modbus-serial parsed them; undefined for writes. */
export type ParsedValues = readonly number[] | readonly boolean[] | undefined

export type ParsedListener = (slot: number, error: Error | null, data: ParsedValues) => void

/**
 * The port under a modbus-serial client: the client turns calls into frames and frames into values, this keeps the
 * frames. Framing, ids, deadlines and closing are outside, because the library's own ports mix answers up beyond 256
 * ids, wait for ever and leave promises pending. The slot stands in for the client's transaction id, so its table of
 * transactions stays as small as the calls in flight.
 */
export class ClientPort extends EventEmitter {
  readonly isOpen = true
  _transactionIdRead = 0
  _transactionIdWrite = 0
  #frame: Buffer | undefined
  readonly #client: InstanceType<typeof ModbusRTU>

  constructor() {
    super()
    this.#client = new ModbusRTU(this)
    this.#client.open()
  }

  /** Called by the client. */
  open(done: (error?: Error) => void): void {
    done()
  }

  /** Called by the client with the RTU frame of a request, CRC included. */
  write(frame: Buffer): void {
    this.#frame = frame
  }

  /** The RTU frame of `call`. `next` runs inside {@link answer} for the same slot. */
  encode(slot: number, unit: number, call: ModbusCall, next: ParsedListener): Buffer {
    this._transactionIdWrite = slot
    const client = this.#client
    const done = (error: Error | null, parsed?: object) => next(slot, error, (parsed as { data?: ParsedValues })?.data)
    switch (call.fc) {
      case 1:
        client.writeFC1(unit, call.address, call.count, done)
        break
      case 2:
        client.writeFC2(unit, call.address, call.count, done)
        break
      case 3:
        client.writeFC3(unit, call.address, call.count, done)
        break
      case 4:
        client.writeFC4(unit, call.address, call.count, done)
        break
      case 5:
        client.writeFC5(unit, call.address, call.value, done)
        break
      case 6:
        client.writeFC6(unit, call.address, call.value, done)
        break
      case 15:
        client.writeFC15(unit, call.address, [...call.values], done)
        break
      case 16:
        client.writeFC16(unit, call.address, [...call.values], done)
        break
      case 17:
        client.writeCustomFC(unit, 17, [], done)
        break
      case 22:
        client.writeFC22(unit, call.address, call.and, call.or, done)
        break
      case 23: {
        const { readAddress, readCount, writeAddress, values } = call
        client.writeFC23(unit, readAddress, readCount, writeAddress, values.length, [...values], done)
        break
      }
      case 43:
        client.writeCustomFC(unit, 43, [0x0e, call.deviceIdCode, call.objectId], done)
        break
      case 'raw':
        client.writeCustomFC(unit, call.functionCode, [...call.data], done)
        break
      default:
        call satisfies never
    }
    const frame = this.#frame
    this.#frame = undefined
    if (frame === undefined) throw new Error(`modbus-serial did not encode function ${call.fc}`)
    return frame
  }

  /** Hands the client the answer of a slot: unit and PDU; the client wants the CRC as well. */
  answer(slot: number, unit: number, pdu: Buffer): void {
    const frame = Buffer.allocUnsafe(pdu.length + 3)
    frame[0] = unit
    pdu.copy(frame, 1)
    frame.writeUInt16LE(crc16(frame, 0, pdu.length + 1), pdu.length + 1)
    this._transactionIdRead = slot
    this.emit('data', frame)
  }
}

/** Functions whose answers the client parses. It follows continuations of 43 by itself and drops unknown codes. */
export function isParsedByClient(call: ModbusCall): boolean {
  return call.fc !== 'raw' && call.fc !== 17 && call.fc !== 43
}

/** What the caller gets of what was parsed: modbus-serial gives whole bytes of bits; callers get as many as they asked for. */
export function valuesOf(call: ModbusCall, data: ParsedValues): readonly number[] | readonly boolean[] {
  if (call.fc === 1 || call.fc === 2) return (data as readonly boolean[]).slice(0, call.count)
  return call.fc === 3 || call.fc === 4 || call.fc === 23 ? data! : []
}
