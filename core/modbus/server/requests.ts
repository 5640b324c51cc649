import type { RegisterType } from '../field.js'
import type { Unit } from './unit.js'

export const ILLEGAL_FUNCTION = 1
export const ILLEGAL_ADDRESS = 2
export const ILLEGAL_VALUE = 3
export const DEVICE_FAILURE = 4
/** A PDU has 253 bytes, one of them the function code (V1.1b3, 4.1). */
const MOST_DATA = 252

/** Registers or bits that a master changed, in one request. */
export interface WrittenValues {
  readonly type: 'holding' | 'coil'
  readonly address: number
  readonly values: readonly number[]
}

export interface Outcome {
  readonly answer: Buffer
  readonly written: WrittenValues | undefined
}

export function exception(functionCode: number, code: number): Buffer {
  return Buffer.from([functionCode | 0x80, code])
}

/**
 * Runs one request PDU against a unit (V1.1b3, section 6). Nothing is changed unless the whole request is good, and the
 * checks come in the order of the specification: function, quantity, address, value.
 */
export function serve(unit: Unit, unitId: number, pdu: Buffer): Outcome {
  const fc = pdu[0]!
  switch (fc) {
    case 1:
      return readBits(unit, 'coil', pdu)
    case 2:
      return readBits(unit, 'discrete', pdu)
    case 3:
      return readWords(unit, 'holding', pdu)
    case 4:
      return readWords(unit, 'input', pdu)
    case 5:
      return writeCoil(unit, pdu)
    case 6:
      return writeRegister(unit, pdu)
    case 15:
      return writeCoils(unit, pdu)
    case 16:
      return writeRegisters(unit, pdu)
    case 17:
      return answered(reportServerId(unit, unitId))
    case 22:
      return maskWrite(unit, pdu)
    case 23:
      return exchange(unit, pdu)
    case 43:
      return answered(identify(unit, pdu))
    default: {
      const own = unit.spec.functions?.[fc]
      if (own === undefined) return refused(fc, ILLEGAL_FUNCTION)
      const data = own(pdu.subarray(1))
      if (data.length > MOST_DATA) throw new RangeError(`function ${fc} answers ${data.length} bytes, more than fit`)
      return answered(Buffer.concat([Uint8Array.of(fc), data]))
    }
  }
}

function answered(answer: Buffer): Outcome {
  return { answer, written: undefined }
}

function refused(fc: number, code: number): Outcome {
  return answered(exception(fc, code))
}

function readProblem(unit: Unit, type: RegisterType, pdu: Buffer, limit: number): number | undefined {
  if (pdu.length !== 5) return ILLEGAL_VALUE
  const [address, count] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3)]
  if (count < 1 || count > Math.min(limit, unit.spec.maxRead ?? limit)) return ILLEGAL_VALUE
  return unit.has(type, address, count) ? undefined : ILLEGAL_ADDRESS
}

function readBits(unit: Unit, type: 'coil' | 'discrete', pdu: Buffer): Outcome {
  const problem = readProblem(unit, type, pdu, 2000)
  if (problem !== undefined) return refused(pdu[0]!, problem)
  const [address, count] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3)]
  const bytes = Math.ceil(count / 8)
  const answer = Buffer.alloc(2 + bytes)
  answer[0] = pdu[0]!
  answer[1] = bytes
  for (let at = 0; at < count; at += 1) {
    if (unit.get(type, address + at) !== 0) answer[2 + (at >> 3)]! |= 1 << (at & 7)
  }
  return answered(answer)
}

function readWords(unit: Unit, type: 'holding' | 'input', pdu: Buffer): Outcome {
  const problem = readProblem(unit, type, pdu, 125)
  if (problem !== undefined) return refused(pdu[0]!, problem)
  return answered(wordsAnswer(unit, type, pdu[0]!, pdu.readUInt16BE(1), pdu.readUInt16BE(3)))
}

function wordsAnswer(unit: Unit, type: 'holding' | 'input', fc: number, address: number, count: number): Buffer {
  const answer = Buffer.allocUnsafe(2 + 2 * count)
  answer[0] = fc
  answer[1] = 2 * count
  for (let at = 0; at < count; at += 1) answer.writeUInt16BE(unit.get(type, address + at), 2 + 2 * at)
  return answer
}

function writeProblem(unit: Unit, type: 'holding' | 'coil', address: number, count: number): number | undefined {
  if (!unit.has(type, address, count) || unit.isReadOnly(type, address, count)) return ILLEGAL_ADDRESS
  return undefined
}

function written(unit: Unit, type: 'holding' | 'coil', address: number, values: readonly number[]): WrittenValues {
  values.forEach((value, at) => {
    unit.set(type, address + at, value)
  })
  return { type, address, values }
}

function writeCoil(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length !== 5) return refused(5, ILLEGAL_VALUE)
  const [address, value] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3)]
  if (value !== 0 && value !== 0xff00) return refused(5, ILLEGAL_VALUE)
  const problem = writeProblem(unit, 'coil', address, 1)
  if (problem !== undefined) return refused(5, problem)
  return { answer: Buffer.from(pdu), written: written(unit, 'coil', address, [value === 0 ? 0 : 1]) }
}

function writeRegister(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length !== 5) return refused(6, ILLEGAL_VALUE)
  const [address, value] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3)]
  const problem = writeProblem(unit, 'holding', address, 1)
  if (problem !== undefined) return refused(6, problem)
  return { answer: Buffer.from(pdu), written: written(unit, 'holding', address, [value]) }
}

function writeCoils(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length < 6) return refused(15, ILLEGAL_VALUE)
  const [address, count, bytes] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3), pdu[5]!]
  if (count < 1 || count > 1968 || bytes !== Math.ceil(count / 8) || pdu.length !== 6 + bytes) {
    return refused(15, ILLEGAL_VALUE)
  }
  const problem = writeProblem(unit, 'coil', address, count)
  if (problem !== undefined) return refused(15, problem)
  const values = Array.from({ length: count }, (_, at) => (pdu[6 + (at >> 3)]! >> (at & 7)) & 1)
  return { answer: Buffer.from(pdu.subarray(0, 5)), written: written(unit, 'coil', address, values) }
}

function writeRegisters(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length < 6) return refused(16, ILLEGAL_VALUE)
  const [address, count, bytes] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3), pdu[5]!]
  if (count < 1 || count > 123 || bytes !== count * 2 || pdu.length !== 6 + bytes) return refused(16, ILLEGAL_VALUE)
  const problem = writeProblem(unit, 'holding', address, count)
  if (problem !== undefined) return refused(16, problem)
  const values = Array.from({ length: count }, (_, at) => pdu.readUInt16BE(6 + 2 * at))
  return { answer: Buffer.from(pdu.subarray(0, 5)), written: written(unit, 'holding', address, values) }
}

function maskWrite(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length !== 7) return refused(22, ILLEGAL_VALUE)
  const [address, and, or] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3), pdu.readUInt16BE(5)]
  const problem = writeProblem(unit, 'holding', address, 1)
  if (problem !== undefined) return refused(22, problem)
  const value = (unit.get('holding', address) & and) | (or & ~and & 0xffff)
  return { answer: Buffer.from(pdu), written: written(unit, 'holding', address, [value]) }
}

/** Writes before it reads (V1.1b3, 6.17). */
function exchange(unit: Unit, pdu: Buffer): Outcome {
  if (pdu.length < 10) return refused(23, ILLEGAL_VALUE)
  const [readAddress, readCount] = [pdu.readUInt16BE(1), pdu.readUInt16BE(3)]
  const [address, count, bytes] = [pdu.readUInt16BE(5), pdu.readUInt16BE(7), pdu[9]!]
  const isRead = readCount >= 1 && readCount <= 125
  if (!isRead || count < 1 || count > 121 || bytes !== count * 2 || pdu.length !== 10 + bytes) {
    return refused(23, ILLEGAL_VALUE)
  }
  if (!unit.has('holding', readAddress, readCount)) return refused(23, ILLEGAL_ADDRESS)
  const problem = writeProblem(unit, 'holding', address, count)
  if (problem !== undefined) return refused(23, problem)
  const values = Array.from({ length: count }, (_, at) => pdu.readUInt16BE(10 + 2 * at))
  const done = written(unit, 'holding', address, values)
  return { answer: wordsAnswer(unit, 'holding', 23, readAddress, readCount), written: done }
}

function reportServerId(unit: Unit, unitId: number): Buffer {
  const name = Buffer.from(unit.spec.serverId ?? 'RouteMQ virtual device', 'utf8').subarray(0, 249)
  return Buffer.concat([Buffer.from([17, name.length + 2, unitId, 0xff]), name])
}

const DEFAULT_IDENTIFICATION: Readonly<Record<number, string>> = {
  0: 'RouteMQ',
  1: 'virtual-device',
  2: '1.0',
}

/** 43/14: streams of the basic (1), regular (2) and extended (3) objects, or one of them (4); V1.1b3, 6.21. */
function identify(unit: Unit, pdu: Buffer): Buffer {
  if (pdu[1] !== 0x0e) return exception(43, ILLEGAL_FUNCTION)
  if (pdu.length !== 4 || pdu[2]! < 1 || pdu[2]! > 4) return exception(43, ILLEGAL_VALUE)
  const objects = unit.spec.identification ?? DEFAULT_IDENTIFICATION
  const ids = Object.keys(objects)
    .map(Number)
    .sort((a, b) => a - b)
  const [code, from] = [pdu[2]!, pdu[3]!]
  const highest = ids.at(-1) ?? 0
  const conformity = 0x80 | (highest >= 0x80 ? 3 : highest >= 3 ? 2 : 1)
  if (code === 4 && !ids.includes(from)) return exception(43, ILLEGAL_ADDRESS)
  const last = code === 1 ? 2 : code === 2 ? 0x7f : 0xff
  // An unknown first object starts the stream over, as the specification wants.
  const start = ids.includes(from) && from <= last ? from : 0
  const wanted = code === 4 ? [from] : ids.filter((id) => id >= start && id <= last)
  const parts: Buffer[] = []
  let room = 253 - 7
  let next = 0
  for (const id of wanted) {
    const text = Buffer.from(objects[id]!, 'utf8').subarray(0, 244)
    if (text.length + 2 > room) {
      next = id
      break
    }
    room -= text.length + 2
    parts.push(Buffer.from([id, text.length]), text)
  }
  const head = Buffer.from([43, 0x0e, code, conformity, next === 0 ? 0 : 0xff, next, parts.length / 2])
  return Buffer.concat([head, ...parts])
}
