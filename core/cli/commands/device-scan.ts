import { InvalidArgumentError } from 'commander'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { normalizeDevice } from '../../modbus/device-schema.js'
import { busIdOf, endpointOf, unitOf } from '../../modbus/endpoint.js'
import type { RegisterType } from '../../modbus/field.js'
import { EXCEPTIONS } from '../../modbus/field-failure.js'
import { type ModbusTransport, TransportError } from '../../modbus/transport/transport.js'
import { RouteMQError } from '../../support/errors.js'
import type { CliContext } from '../context.js'
import { type DeviceAccess, withDevices } from '../device-access.js'
import { registerTypeArgument, showAddress } from '../modbus-address.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

interface ScanOptions {
  readonly units?: Range
  readonly registers?: Range
  readonly type: string
  readonly timeout: number
  readonly framer: string
}

interface Range {
  readonly from: number
  readonly to: number
}

interface Found {
  readonly unit: number
  readonly register_type?: RegisterType
  readonly address?: number
  /** A value, or how the unit refused: both are an answer. */
  readonly answer: string
}

const READ = { coil: 1, discrete: 2, holding: 3, input: 4 } as const
const ECHO =
  'LINE_ECHO: the line gives back what is sent to it. Set options.local_echo of its devices, so that no write is confirmed by its own echo.'
/** Addresses a scan may ask for, one request each: bounded, whatever was typed. */
const MOST_REGISTERS = 2_000

/** `routemq device:scan WHERE`: which units answer on a bus, or which registers a unit has. */
export function registerDeviceScan({ program, action }: Registry): void {
  program
    .command('device:scan')
    .description('find the units of a bus, or the registers of a unit; one request at a time, reading only')
    .argument('<where>', 'a device, whose bus is scanned, or host:port')
    .option('-u, --units <from-to>', 'units to look for', rangeArgument(0, 255))
    .option('-r, --registers <from-to>', `addresses to look for, at most ${MOST_REGISTERS}`, rangeArgument(0, 65_535))
    .option('-t, --type <type>', 'holding, input, coil or discrete', 'holding')
    .option('--timeout <ms>', 'how long each may take', integerArgument(10, 10_000), 300)
    .option('--framer <framer>', 'SOCKET, RTU or ASCII, for host:port', 'SOCKET')
    .action((where: string, options: ScanOptions) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const record = await recordOf(devices, where, options.framer)
          const type = registerTypeArgument(options.type)
          const { registers, units = registers === undefined ? { from: 1, to: 32 } : only(unitOf(record)) } = options
          if (registers !== undefined && registers.to - registers.from >= MOST_REGISTERS) {
            throw new RouteMQError('USAGE', `--registers: at most ${MOST_REGISTERS} addresses in one scan`)
          }
          await devices.claim(busIdOf(record))
          const [{ createTransport }, { LineEcho }] = await Promise.all([
            import('../../modbus/transport/open.js'),
            import('../../modbus/transport/line-echo.js'),
          ])
          const echo = new LineEcho()
          const line = createTransport(endpointOf(record), { echo })
          try {
            await connect(line, record, context)
            const found = await scan(line, { units, registers, type, timeoutMs: options.timeout }, context, json)
            if (json) context.out(JSON.stringify(found))
            else show(context, found, registers !== undefined)
            if (echo.state === 'present') context.err(ECHO)
            return 0
          } finally {
            await line.close()
          }
        }),
      ),
    )
}

async function recordOf(devices: DeviceAccess, where: string, framer: string): Promise<DeviceRecord> {
  const known = (await devices.list()).find(({ device_id }) => device_id === where)
  // Whoever listens at the address in its record while nothing runs is another device.
  if (known?.options.virtual === true && !known.is_active) {
    const message = `Device ${where} is the virtual device of demo mode, which is there while the product runs.`
    throw new RouteMQError('DEVICE_INACTIVE', message, { details: { device_id: where } })
  }
  if (known !== undefined) return known
  const [, host, port] = /^(.+):(\d+)$/.exec(where) ?? []
  if (host === undefined)
    throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${where}, and it is no host:port.`)
  return normalizeDevice({ device_id: 'scan', host, port: Number(port), framer })
}

async function connect(line: ModbusTransport, record: DeviceRecord, { signal }: CliContext): Promise<void> {
  try {
    await line.connect({ timeoutMs: 3_000, signal })
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new RouteMQError('DEVICE_UNREACHABLE', `${busIdOf(record)} cannot be opened: ${reason}`, { cause })
  }
}

async function scan(
  line: ModbusTransport,
  wanted: { units: Range; registers: Range | undefined; type: RegisterType; timeoutMs: number },
  { signal, terminal, err }: CliContext,
  json: boolean,
): Promise<Found[]> {
  const { units, registers = { from: 0, to: 0 }, type, timeoutMs } = wanted
  const total = (units.to - units.from + 1) * (registers.to - registers.from + 1)
  const found: Found[] = []
  let asked = 0
  for (let unit = units.from; unit <= units.to; unit += 1) {
    for (let address = registers.from; address <= registers.to && !signal.aborted; address += 1) {
      if (terminal && !json && asked % 50 === 0 && asked > 0) err(`${asked} of ${total} asked, ${found.length} found`)
      asked += 1
      const answer = await ask(line, unit, { fc: READ[type], address }, timeoutMs, signal)
      if (answer === undefined) {
        // A unit that is silent at one address is silent at all: asking on would only take time.
        if (wanted.registers !== undefined) break
        continue
      }
      const missing = wanted.registers !== undefined && answer === refusal(2)
      if (!missing)
        found.push({ unit, ...(wanted.registers === undefined ? {} : { register_type: type, address }), answer })
    }
  }
  return found
}

/** The value, how it was refused, or undefined where nobody answered. */
async function ask(
  line: ModbusTransport,
  unit: number,
  { fc, address }: { fc: 1 | 2 | 3 | 4; address: number },
  timeoutMs: number,
  signal: AbortSignal,
): Promise<string | undefined> {
  try {
    if (line.state !== 'open') await line.connect({ timeoutMs: 3_000, signal })
    const { values } = await line.call(unit, { fc, address, count: 1 }, { timeoutMs, signal })
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

function show({ out }: CliContext, found: readonly Found[], registers: boolean): void {
  if (found.length === 0) out('Nobody answered.')
  else if (registers) {
    const rows = found.map(({ unit, register_type, address, answer }) => [
      unit,
      showAddress(register_type!, address!),
      answer,
    ])
    out(table(['unit', 'register', 'answer'], rows))
  } else {
    out(
      table(
        ['unit', 'answer to a read of address 0'],
        found.map(({ unit, answer }) => [unit, answer]),
      ),
    )
  }
}

function only(unit: number): Range {
  return { from: unit, to: unit }
}

function rangeArgument(min: number, max: number) {
  return (text: string): Range => {
    const [, from = '', to = from] = /^(\d+)(?:-(\d+))?$/.exec(text) ?? []
    const range = { from: Number(from), to: Number(to) }
    if (from !== '' && range.from >= min && range.to <= max && range.from <= range.to) return range
    throw new InvalidArgumentError(`Want a number or FROM-TO, from ${min} to ${max}.`)
  }
}
