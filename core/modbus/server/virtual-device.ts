import { silentLogger } from '../../observability/logger.js'
import { systemClock } from '../../support/clock.js'
import { RouteMQError } from '../../support/errors.js'
import type { RegisterType } from '../field.js'
import type { SerialEndpoint } from '../transport/serial-port.js'
import type { BusEndpoint } from '../transport/transport.js'
import { asciiServerFraming } from './ascii-server-framing.js'
import type { Channel } from './channel.js'
import type { Fault, Faults } from './faults.js'
import { mbapServerFraming } from './mbap-server-framing.js'
import { Persistence, type RegisterStore } from './register-store.js'
import { rtuServerFraming } from './rtu-server-framing.js'
import { openSerialChannel } from './serial-channel.js'
import { type ReceivedWrite, Slave, type SlaveOptions } from './slave.js'
import { openTcpChannel, type ServerTls } from './tcp-channel.js'
import { openUdpChannel } from './udp-channel.js'

const FRAMINGS = {
  tcp: mbapServerFraming,
  tls: mbapServerFraming,
  rtu_tcp: rtuServerFraming,
  ascii_tcp: asciiServerFraming,
}

export interface VirtualDeviceOptions extends SlaveOptions {
  /** @default 127.0.0.1 */
  readonly host?: string
  /** 0 takes a free one. @default 0 */
  readonly port?: number
  /** Takes a free port where `port` is taken, instead of PORT_IN_USE. @default false */
  readonly mayMove?: boolean
  /** How it speaks on host and port. @default tcp */
  readonly kind?: keyof typeof FRAMINGS | 'udp'
  /** Needed for kind `tls`. */
  readonly tls?: ServerTls
  /** Speaks on this serial line instead of a host and port. */
  readonly line?: SerialEndpoint
  /** What goes wrong from the start, by unit; `*` for units without their own. */
  readonly faults?: Readonly<Record<string, Fault>>
  /** Keeps holding registers and coils over a restart; what is stored goes before the initial values. */
  readonly store?: RegisterStore
}

/** A Modbus slave of one or more units: simulator, test partner, or a slave on a real bus. */
export interface VirtualDevice {
  /** The path, on a serial line. */
  readonly host: string
  /** 0 on a serial line. */
  readonly port: number
  /** Where a client finds it; a serial line's other end has a path of its own. */
  readonly endpoint: BusEndpoint
  /** What masters wrote, newest last. */
  readonly log: readonly ReceivedWrite[]
  /** Requests carried out since the start. */
  readonly requests: number
  readonly faults: Faults
  /** 0 to 65535, for bits 0 or 1. @throws RangeError for a unit that does not exist */
  get(unit: number, type: RegisterType, address: number): number
  /** Changes a value as the device itself would: no event, no log entry; ends a value that moves. */
  set(unit: number, type: RegisterType, address: number, value: number | boolean): void
  /** Calls back for each write of a master, after it was carried out. Returns the way to stop it. */
  onWrite(listener: (write: ReceivedWrite) => void): () => void
  /** Idempotent. */
  close(): Promise<void>
}

/**
 * Starts a virtual device.
 *
 * @throws RouteMQError PORT_IN_USE where the port is taken and it may not move, CONFIG_INVALID where it cannot be where it is
 * told to be: an address of another machine, a port for others than this user, a line that is not there.
 */
export async function startVirtualDevice(options: VirtualDeviceOptions): Promise<VirtualDevice> {
  const slave = new Slave(options)
  for (const [unit, fault] of Object.entries(options.faults ?? {})) {
    slave.faults.set(unit === '*' ? unit : Number(unit), fault)
  }
  const { store, clock = systemClock, logger = silentLogger } = options
  const persistence = store === undefined ? undefined : new Persistence(slave, store, clock, logger)
  await persistence?.start()
  const channel = await openChannel(slave, options).catch((cause: unknown) => {
    throw cause instanceof RouteMQError || cause instanceof RangeError ? cause : cannotListen(options, cause)
  })
  let closing: Promise<void> | undefined
  return {
    host: channel.host,
    port: channel.port,
    endpoint: options.line ?? { kind: options.kind ?? 'tcp', host: channel.host, port: channel.port },
    get log() {
      return slave.log
    },
    get requests() {
      return slave.requests
    },
    faults: slave.faults,
    get: (unit, type, address) => slave.get(unit, type, address),
    set: (unit, type, address, value) => slave.set(unit, type, address, value),
    onWrite: (listener) => slave.onWrite(listener),
    close() {
      slave.close()
      closing ??= channel.close().then(() => persistence?.close())
      return closing
    },
  }
}

function cannotListen({ host = '127.0.0.1', port = 0, line }: VirtualDeviceOptions, cause: unknown): RouteMQError {
  const where = line?.path ?? `${host}:${port}`
  const reason = cause instanceof Error ? cause.message : String(cause)
  return new RouteMQError('CONFIG_INVALID', `A virtual device cannot listen on ${where}: ${reason}`, { cause })
}

function openChannel(slave: Slave, options: VirtualDeviceOptions): Promise<Channel> {
  const { host = '127.0.0.1', port = 0, mayMove = false, kind = 'tcp', tls, line } = options
  const { logger = silentLogger, clock = systemClock } = options
  if (line !== undefined) return openSerialChannel({ line, slave, clock, logger })
  if (kind === 'udp') return openUdpChannel({ host, port, slave, logger })
  if (kind === 'tls' && tls === undefined) throw new RangeError('a TLS device needs a certificate and a key')
  const secure = kind === 'tls' ? tls : undefined
  return openTcpChannel({ host, port, mayMove, tls: secure, framing: FRAMINGS[kind], slave, clock, logger })
}
