import { type Logger, silentLogger } from '../../observability/logger.js'
import { type Clock, systemClock } from '../../support/clock.js'
import { asciiFraming } from './ascii-framing.js'
import { ClientTransport } from './client-transport.js'
import type { Framing } from './framing.js'
import { LineEcho } from './line-echo.js'
import type { Link } from './link.js'
import { mbapDatagramFraming, mbapFraming } from './mbap-framing.js'
import { rtuFraming } from './rtu-framing.js'
import { SerialLink } from './serial-link.js'
import { TcpLink } from './tcp-link.js'
import type { BusEndpoint, ModbusTransport } from './transport.js'
import { UdpLink } from './udp-link.js'

/** The most that devices and converters are known to queue (Messaging on TCP/IP V1.0b, 4.2.2: NumberMaxOfClientTransaction). */
const MAX_IN_FLIGHT = 16
const COPY_MS = 20

export interface TransportOptions {
  /** @default systemClock */
  readonly clock?: Clock
  /** @default silentLogger */
  readonly logger?: Logger
  /** Highest number of calls in flight where frames carry ids, 1 to 16. @default 16 */
  readonly maxInFlight?: number
  /**
   * Milliseconds without a byte from the line before a request is sent, where frames carry no ids. @default 3.5
   * characters and at least 1.75 on serial lines (Modbus over Serial Line V1.02, 2.5.1.1), 2 over TCP
   */
  readonly quietMs?: number
  /**
   * Milliseconds after an answer in which a copy of it may begin, where frames carry no ids; an answer that equals it
   * waits as long. @default 20, longer than the lumps of USB adapters
   */
  readonly copyMs?: number
  /** What is known of the line across connections, where frames carry no ids. @default nothing yet */
  readonly echo?: LineEcho
}

/** A closed transport for `endpoint`; `connect()` opens it. */
export function createTransport(endpoint: BusEndpoint, options: TransportOptions = {}): ModbusTransport {
  const { clock = systemClock, logger = silentLogger, maxInFlight = MAX_IN_FLIGHT } = options
  const framing = framingOf(endpoint)
  return new ClientTransport({
    name: endpointName(endpoint),
    framing,
    createLink: () => linkOf(endpoint),
    maxInFlight: framing.hasTransactionIds ? Math.max(1, Math.min(MAX_IN_FLIGHT, maxInFlight)) : 1,
    quietMs: options.quietMs ?? quietOf(endpoint),
    copyMs: options.copyMs ?? COPY_MS,
    characterMs: characterOf(endpoint),
    echo: options.echo ?? new LineEcho(),
    clock,
    logger,
  })
}

/** How messages name an endpoint: `tcp 10.0.0.7:502`, `serial_rtu /dev/ttyUSB0`. */
export function endpointName(endpoint: BusEndpoint): string {
  return 'path' in endpoint ? `${endpoint.kind} ${endpoint.path}` : `${endpoint.kind} ${endpoint.host}:${endpoint.port}`
}

function quietOf(endpoint: BusEndpoint): number {
  return 'path' in endpoint ? Math.max(1.75, 3.5 * characterOf(endpoint)) : 2
}

/** Milliseconds on a serial line, with start, parity and stop bits. */
function characterOf(endpoint: BusEndpoint): number {
  return 'path' in endpoint ? 11_000 / endpoint.baudRate : 0
}

function framingOf(endpoint: BusEndpoint): Framing {
  switch (endpoint.kind) {
    case 'tcp':
    case 'tls':
      return mbapFraming
    case 'udp':
      return mbapDatagramFraming
    case 'rtu_tcp':
    case 'serial_rtu':
      return rtuFraming
    case 'ascii_tcp':
    case 'serial_ascii':
      return asciiFraming
  }
}

function linkOf(endpoint: BusEndpoint): Link {
  switch (endpoint.kind) {
    case 'serial_rtu':
    case 'serial_ascii':
      return new SerialLink(endpoint)
    case 'udp':
      return new UdpLink(endpoint.host, endpoint.port)
    default:
      return new TcpLink(endpoint)
  }
}
