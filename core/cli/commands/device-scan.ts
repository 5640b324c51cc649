import { InvalidArgumentError } from 'commander'
import { busSettingsOf } from '../../modbus/bus-settings.js'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { type DeviceOptions, normalizeDevice } from '../../modbus/device-schema.js'
import { busIdOf, endpointOf, unitOf } from '../../modbus/endpoint.js'
import { type ModbusTransport, TransportError } from '../../modbus/transport/transport.js'
import { RouteMQError } from '../../support/errors.js'
import type { CliContext } from '../context.js'
import { type DeviceAccess, refuseVirtual, withDevices } from '../device-access.js'
import { EXIT } from '../exit-codes.js'
import { registerTypeArgument, showAddress } from '../modbus-address.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { type Found, type Range, type Scanned, scanBus } from '../scan-bus.js'
import { table } from '../table.js'

interface ScanOptions {
  readonly units?: Range
  readonly registers?: Range
  readonly type: string
  readonly timeout: number
  readonly framer?: string
  readonly baud?: number
  readonly parity?: string
  readonly dataBits?: number
  readonly stopBits?: number
}

const ECHO =
  'LINE_ECHO: the line gives back what is sent to it. Set options.local_echo of its devices, so that no write is confirmed by its own echo.'
/** Addresses a scan may ask for, one request each: bounded, whatever was typed. */
const MOST_REGISTERS = 2_000

/** `routemq device:scan WHERE`: which units answer on a bus, or which registers a unit has. */
export function registerDeviceScan({ program, action }: Registry): void {
  program
    .command('device:scan')
    .description('find the units of a bus, or the registers of a unit; one request at a time, reading only')
    .argument('<where>', 'a device, whose bus is scanned, host:port, or a serial line as /dev/ttyUSB0')
    .option('-u, --units <from-to>', 'units to look for', rangeArgument(0, 255))
    .option('-r, --registers <from-to>', `addresses to look for, at most ${MOST_REGISTERS}`, rangeArgument(0, 65_535))
    .option('-t, --type <type>', 'holding, input, coil or discrete', 'holding')
    .option('--timeout <ms>', 'how long each may take', integerArgument(10, 10_000), 300)
    .option('--framer <framer>', 'SOCKET, RTU or ASCII; SOCKET for host:port, RTU for a serial line')
    .option('--baud <rate>', 'of a serial line; 9600 where it is not named', integerArgument(50, 4_000_000))
    .option('--parity <parity>', 'of a serial line: none, even or odd; none where it is not named')
    .option('--data-bits <bits>', 'of a serial line; 8, for ASCII 7, where they are not named', integerArgument(7, 8))
    .option('--stop-bits <bits>', 'of a serial line; 1 where they are not named', integerArgument(1, 2))
    .action((where: string, options: ScanOptions) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const record = await recordOf(devices, where, options)
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
            const { signal, terminal, err } = context
            const scanned = await scanBus(line, {
              units,
              registers,
              type,
              timeoutMs: options.timeout,
              pauseMs: pauseOf(await devices.list(), record),
              signal,
              claim: () => devices.claim(busIdOf(record)),
              onProgress: (asked, total, found) => {
                if (terminal && !json && asked % 50 === 0 && asked > 0)
                  err(`${asked} of ${total} asked, ${found} found`)
              },
            }).catch((cause: unknown) => {
              throw cause instanceof TransportError ? unreachable(record, cause) : cause
            })
            if (json) context.out(JSON.stringify(scanned.found))
            else show(context, scanned.found, registers !== undefined)
            tellLost(context, scanned)
            if (echo.state === 'present') context.err(ECHO)
            if (scanned.interrupted === undefined) return EXIT.ok
            const { asked, total } = scanned.interrupted
            context.err(`Interrupted after ${asked} of ${total} addresses: what the others hold is not known.`)
            return EXIT.failure
          } finally {
            await line.close()
          }
        }),
      ),
    )
}

async function recordOf(devices: DeviceAccess, where: string, options: ScanOptions): Promise<DeviceRecord> {
  const known = (await devices.list()).find(({ device_id }) => device_id === where)
  if (known !== undefined) refuseVirtual(known)
  const { framer, baud, parity, dataBits, stopBits } = options
  const line = { baud_rate: baud, parity, data_bits: dataBits, stop_bits: stopBits }
  const isSerial = known === undefined && /^\/|^COM\d+$/i.test(where)
  if (isSerial) return normalizeDevice({ device_id: 'scan', path: where, framer: framer ?? 'RTU', ...line })
  if (Object.values(line).some((setting) => setting !== undefined)) {
    throw new RouteMQError(
      'USAGE',
      '--baud, --parity, --data-bits and --stop-bits go with a serial line that is named by its path.',
    )
  }
  if (known !== undefined) return known
  const [, host, port] = /^\[?(.+?)\]?:(\d+)$/.exec(where) ?? []
  if (host === undefined)
    throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${where}, and it is no host:port and no serial line.`)
  return normalizeDevice({ device_id: 'scan', host, port: Number(port), framer: framer ?? 'SOCKET' })
}

/** The silence that the devices of a bus need, as the product keeps it: a unit that is asked sooner would seem to be none. */
function pauseOf(devices: readonly DeviceRecord[], record: DeviceRecord): number {
  const bus = busIdOf(record)
  const records = devices.filter((device) => device.is_active && busIdOf(device) === bus)
  const { silenceMs, unitSwitchMs } = busSettingsOf(records)
  const delays = records.map(({ options }) => (options as DeviceOptions).delay_ms ?? 0)
  return Math.max(silenceMs, ...delays) + unitSwitchMs
}

async function connect(line: ModbusTransport, record: DeviceRecord, { signal }: CliContext): Promise<void> {
  try {
    await line.connect({ timeoutMs: 3_000, signal })
  } catch (cause) {
    throw unreachable(record, cause)
  }
}

function unreachable(record: DeviceRecord, cause: unknown): RouteMQError {
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new RouteMQError('DEVICE_UNREACHABLE', `${busIdOf(record)} cannot be opened: ${reason}`, { cause })
}

/** What lost both its answers, by unit: the registers may be there all the same. */
function tellLost({ err }: CliContext, { found, silent }: Scanned): void {
  const lost = found.filter(({ answer }) => answer === null)
  for (const unit of new Set(lost.map((one) => one.unit))) {
    const addresses = lost.filter((one) => one.unit === unit).map(({ address }) => address!)
    err(`Unit ${unit} gave no answer, asked twice, at ${ranges(addresses)}: what is there is not known.`)
  }
  if (silent.length > 0)
    err(`No answer at all, so not asked to the end: ${silent.length === 1 ? 'unit' : 'units'} ${ranges(silent)}.`)
}

/** `1-3, 7` of ascending numbers. */
function ranges(numbers: readonly number[]): string {
  const parts: [number, number][] = []
  for (const number of numbers) {
    const last = parts.at(-1)
    if (last !== undefined && last[1] === number - 1) last[1] = number
    else parts.push([number, number])
  }
  return parts.map(([from, to]) => (from === to ? `${from}` : `${from}-${to}`)).join(', ')
}

function show({ out }: CliContext, all: readonly Found[], registers: boolean): void {
  const found = all.flatMap((one) => (one.answer === null ? [] : [{ ...one, answer: one.answer }]))
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
