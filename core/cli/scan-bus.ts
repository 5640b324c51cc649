import { setTimeout as sleep } from 'node:timers/promises'
import type { RegisterType } from '../modbus/field.js'
import { EXCEPTIONS } from '../modbus/field-failure.js'
import { type ModbusTransport, TransportError } from '../modbus/transport/transport.js'

export interface Range {
  readonly from: number
  readonly to: number
}

export interface Found {
  readonly unit: number
  readonly register_type?: RegisterType
  readonly address?: number
  /** A value, or how the unit refused: both are an answer. Null for a register whose answer was lost twice. */
  readonly answer: string | null
}

export interface Scan {
  readonly units: Range
  /** Addresses of registers to look for; undefined to look for units. */
  readonly registers: Range | undefined
  readonly type: RegisterType
  readonly timeoutMs: number
  /** Silence before each request, as the devices of the bus are known to need it. */
  readonly pauseMs: number
  readonly signal: AbortSignal
  /** Called before each request: throws where the bus is not ours any more. */
  readonly claim: () => Promise<void>
  readonly onProgress: (asked: number, total: number, found: number) => void
}

export interface Scanned {
  readonly found: readonly Found[]
  /** Units of which not one register answered, and that were not asked to the end. */
  readonly silent: readonly number[]
  /** Addresses asked for before it was interrupted; undefined where it was not. */
  readonly interrupted: { readonly asked: number; readonly total: number } | undefined
}

const READ = { coil: 1, discrete: 2, holding: 3, input: 4 } as const
/** A unit that answered nothing at so many addresses, each asked twice, is not there. */
const ABSENT_AFTER = 3
/** How long an answer may be late, where frames do not say what they answer. */
const LATE_MS = 500

/** Asks one address after the other, reading only. An answer that is lost is asked for once again. */
export async function scanBus(line: ModbusTransport, scan: Scan): Promise<Scanned> {
  const { units, registers, signal, onProgress } = scan
  const addresses = registers ?? { from: 0, to: 0 }
  const total = (units.to - units.from + 1) * (addresses.to - addresses.from + 1)
  const found: Found[] = []
  const silent: number[] = []
  let asked = 0
  for (let unit = units.from; unit <= units.to && !signal.aborted; unit += 1) {
    const lost: Found[] = []
    let hasAnswered = false
    for (let address = addresses.from; address <= addresses.to && !signal.aborted; address += 1) {
      onProgress(asked, total, found.length)
      asked += 1
      if (registers === undefined) {
        const answer = await ask(line, unit, address, scan)
        if (answer !== undefined) found.push({ unit, answer })
        continue
      }
      const place = { unit, register_type: scan.type, address }
      const answer = await askTwice(line, unit, address, scan)
      if (signal.aborted) break
      if (answer === undefined) {
        lost.push({ ...place, answer: null })
        if (hasAnswered || lost.length < ABSENT_AFTER) continue
        silent.push(unit)
        break
      }
      hasAnswered = true
      if (answer !== refusal(2)) found.push({ ...place, answer })
    }
    if (hasAnswered) found.push(...lost)
    else if (lost.length > 0 && silent.at(-1) !== unit) silent.push(unit)
  }
  return { found: inOrder(found), silent, interrupted: signal.aborted ? { asked, total } : undefined }
}

function inOrder(found: readonly Found[]): Found[] {
  return [...found].sort((a, b) => a.unit - b.unit || (a.address ?? 0) - (b.address ?? 0))
}

async function askTwice(line: ModbusTransport, unit: number, address: number, scan: Scan) {
  const first = await ask(line, unit, address, scan)
  if (first !== undefined || scan.signal.aborted) return first
  await passLate(line, scan.signal)
  const second = await ask(line, unit, address, scan)
  // The first answer may have been late: that to the second would be taken for the next address's.
  await passLate(line, scan.signal)
  return second
}

async function passLate(line: ModbusTransport, signal: AbortSignal): Promise<void> {
  if (line.hasTransactionIds || line.state !== 'open') return
  await sleep(LATE_MS, undefined, { signal }).catch(() => {}) // An interrupted scan ends where it looks next.
  line.discardInput()
}

/** The value, how it was refused, or undefined where nobody answered. @throws TransportError where the line cannot be opened again. */
async function ask(line: ModbusTransport, unit: number, address: number, scan: Scan): Promise<string | undefined> {
  const { type, timeoutMs, pauseMs, signal, claim } = scan
  if (pauseMs > 0) await sleep(pauseMs, undefined, { signal }).catch(() => {}) // Interrupted, it ends below.
  await claim()
  try {
    if (line.state !== 'open') await line.connect({ timeoutMs: 3_000, signal })
  } catch (error) {
    if (signal.aborted) return undefined
    throw error
  }
  try {
    const { values } = await line.call(unit, { fc: READ[type], address, count: 1 }, { timeoutMs, signal })
    return String(values[0])
  } catch (error) {
    if (!(error instanceof TransportError)) throw error
    if (!line.hasTransactionIds) line.discardInput()
    if (error.failure.kind !== 'exception') return undefined
    const { exceptionCode } = error.failure
    // The gateway speaks, not the unit behind it (V1.1b3, section 7).
    return exceptionCode === 10 || exceptionCode === 11 ? undefined : refusal(exceptionCode)
  }
}

function refusal(code: number): string {
  return `exception ${code}, ${EXCEPTIONS[code]?.name ?? 'unknown'}`
}
