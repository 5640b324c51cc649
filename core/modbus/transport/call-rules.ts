import type { ModbusCall } from './transport.js'

const LIMITS = { readBits: 2000, readWords: 125, writeBits: 1968, writeWords: 123, exchangeWords: 121, rawBytes: 252 }

/**
 * Refuses what the protocol cannot carry (quantities and addresses of V1.1b3, section 6) before a byte is sent;
 * modbus-serial would send it.
 * @throws RangeError naming the field and what was found
 */
export function checkCall(unit: number, call: ModbusCall): void {
  integer('unit', unit, 0, 255)
  switch (call.fc) {
    case 1:
    case 2:
      range(call.address, call.count, LIMITS.readBits)
      break
    case 3:
    case 4:
      range(call.address, call.count, LIMITS.readWords)
      break
    case 5:
      range(call.address, 1, 1)
      bits([call.value])
      break
    case 6:
      range(call.address, 1, 1)
      words([call.value])
      break
    case 15:
      range(call.address, call.values.length, LIMITS.writeBits)
      bits(call.values)
      break
    case 16:
      range(call.address, call.values.length, LIMITS.writeWords)
      words(call.values)
      break
    case 17:
      break
    case 22:
      range(call.address, 1, 1)
      words([call.and, call.or])
      break
    case 23:
      range(call.readAddress, call.readCount, LIMITS.readWords)
      range(call.writeAddress, call.values.length, LIMITS.exchangeWords)
      words(call.values)
      break
    case 43:
      integer('deviceIdCode', call.deviceIdCode, 1, 4)
      integer('objectId', call.objectId, 0, 255)
      break
    case 'raw':
      integer('functionCode', call.functionCode, 1, 127)
      integer('data.length', call.data.length, 0, LIMITS.rawBytes)
      break
    default:
      throw new RangeError(`function ${String((call as { fc: unknown }).fc)} is not known; use a raw call`)
  }
}

/** What carries no answer: unit 0 where frames have no transaction id (V1.02, 2.1). Reads cannot be broadcast. */
export function checkBroadcast(call: ModbusCall): void {
  const reads = call.fc !== 'raw' && ![5, 6, 15, 16, 22].includes(call.fc)
  if (reads) throw new RangeError(`function ${call.fc} cannot be broadcast: unit 0 never answers on this framing`)
}

/** Why `pdu` cannot be the answer to `call`, or undefined. Exceptions are dealt with before. */
export function answerProblem(call: ModbusCall, request: Uint8Array, pdu: Buffer): string | undefined {
  if (pdu[0] !== request[0]) return `function ${pdu[0]} instead of ${request[0]}`
  switch (call.fc) {
    case 1:
    case 2:
      return byteCount(pdu, Math.ceil(call.count / 8))
    case 3:
    case 4:
      return byteCount(pdu, call.count * 2)
    case 23:
      return byteCount(pdu, call.readCount * 2)
    case 5:
    case 6:
    case 22:
      return pdu.equals(request) ? undefined : `echo ${pdu.toString('hex')} instead of ${hex(request)}`
    case 15:
    case 16:
      return pdu.length === 5 && pdu.equals(request.subarray(0, 5))
        ? undefined
        : `echo ${pdu.toString('hex')} instead of ${hex(request.subarray(0, 5))}`
    case 17:
      return pdu.length >= 2 && pdu.length === 2 + pdu[1]! ? undefined : `${pdu.length} bytes, announced ${pdu[1]}`
    case 43:
      return pdu[1] === 0x0e && pdu.length >= 7 ? undefined : 'not a device identification'
    case 'raw':
      return undefined
  }
}

/**
 * True for a read whose answer may equal its request, byte by byte: of 17 to 24 bits from 768 to 1023 the answer is as long,
 * and begins with the same byte. All other reads are answered by something else than themselves.
 */
export function mayAnswerLikeEcho(call: ModbusCall): boolean {
  return (call.fc === 1 || call.fc === 2) && Math.ceil(call.count / 8) === 3 && call.address >> 8 === 3
}

function byteCount(pdu: Buffer, bytes: number): string | undefined {
  if (pdu[1] !== bytes) return `${pdu[1]} data bytes instead of ${bytes}`
  return pdu.length === 2 + bytes ? undefined : `${pdu.length - 2} data bytes, announced ${bytes}`
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex')
}

function range(address: number, count: number, limit: number): void {
  integer('address', address, 0, 0xffff)
  integer('count', count, 1, limit)
  if (address + count > 0x10000) throw new RangeError(`address ${address} and count ${count} end beyond 65535`)
}

function words(values: readonly number[]): void {
  for (const value of values) integer('value', value, 0, 0xffff)
}

function bits(values: readonly boolean[]): void {
  for (const value of values) {
    if (typeof value !== 'boolean') throw new RangeError(`value must be true or false, got ${String(value)}`)
  }
}

function integer(name: string, value: number, min: number, max: number): void {
  if (!Number.isInteger(value) || value < min || value > max) {
    throw new RangeError(`${name} must be an integer from ${min} to ${max}, got ${String(value)}`)
  }
}
