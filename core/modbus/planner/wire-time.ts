import type { RegisterType } from '../field.js'
import type { BusEndpoint } from '../transport/transport.js'

/** What a request costs on a bus: `requestMs + addresses * addressMs`. */
export interface WireCost {
  readonly requestMs: number
  readonly addressMs: number
  /** The part of `requestMs` that bytes and gaps around the data take. */
  readonly frameMs: number
  /** The part of `requestMs` that the unit takes to begin to answer. */
  readonly turnaroundMs: number
}

/** What units take to begin to answer, before anything was measured, milliseconds. */
const TURNAROUND_MS = 5
const NETWORK_BYTE_MS = 0.0005

/** Milliseconds of one byte on the wire. */
export function byteTime(endpoint: BusEndpoint): number {
  if (!('path' in endpoint)) return endpoint.kind === 'ascii_tcp' ? NETWORK_BYTE_MS * 2 : NETWORK_BYTE_MS
  const bits = 1 + endpoint.dataBits + (endpoint.parity === 'none' ? 0 : 1) + endpoint.stopBits
  const characters = endpoint.kind === 'serial_ascii' ? 2 : 1
  return (bits * characters * 1_000) / endpoint.baudRate
}

/** Bytes of request and answer around the data (V1.1b3, 6.1 to 6.4): RTU 8 + 5, MBAP 12 + 9. */
function overheadBytes(endpoint: BusEndpoint): number {
  return endpoint.kind === 'tcp' || endpoint.kind === 'tls' || endpoint.kind === 'udp' ? 21 : 13
}

/** Cost of reads on a bus, from its line and the round trip that was measured without the data's share. */
export function wireCost(
  endpoint: BusEndpoint,
  type: RegisterType,
  turnaroundMs = TURNAROUND_MS,
  silenceMs = 0,
): WireCost {
  const byteMs = byteTime(endpoint)
  const bytesPerAddress = type === 'coil' || type === 'discrete' ? 1 / 8 : 2
  // A line keeps 3.5 characters of silence after each frame (Serial Line V1.02, 2.5.1.1), at least 1.75 ms above 19200 baud.
  const frameGap = 'path' in endpoint ? 2 * Math.max(3.5 * byteMs, endpoint.baudRate > 19_200 ? 1.75 : 0) : 0
  const frameMs = overheadBytes(endpoint) * byteMs + frameGap
  return {
    requestMs: frameMs + silenceMs + turnaroundMs,
    addressMs: bytesPerAddress * byteMs,
    frameMs,
    turnaroundMs,
  }
}

/**
 * Addresses one request may carry for what was asked for apart: its bytes take at most half of what the unit leaves of
 * the time-out. A request that needs all of it fails whenever anything is a little slower, and takes the device off line.
 */
export function joinLimit({ addressMs, frameMs, turnaroundMs }: WireCost, timeoutMs: number): number {
  // How long units take is known for the bus only: a slow one must not keep the reads of the others apart.
  const left = Math.max(timeoutMs - turnaroundMs, timeoutMs / 2)
  return Math.floor((left / 2 - frameMs) / addressMs)
}
