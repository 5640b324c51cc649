import { readSync } from 'node:fs'
import type { SerialPort } from 'serialport'
import type { BusEndpoint } from './transport.js'

export type SerialEndpoint = Extract<BusEndpoint, { kind: 'serial_rtu' | 'serial_ascii' }>

/** What serialport's bindings for Linux and macOS have, and those for Windows do not. */
interface UnixBinding {
  readonly isOpen: boolean
  readonly fd: number | null
  readonly poller: { once(event: 'readable', listener: (error: Error | null) => void): unknown }
  read: (buffer: Buffer, offset: number, length: number) => Promise<{ buffer: Buffer; bytesRead: number }>
}

/** Nothing to read yet. */
const WAITING = ['EAGAIN', 'EWOULDBLOCK', 'EINTR']

/**
 * Opens a serial line, exclusively: two masters on one line would take each other's answers. `use` gets the port in the
 * very turn in which it opened; the port reports its end by `close`. The library, native code, is loaded with the first
 * line: who has none does not need it.
 */
export async function openSerialPort(line: SerialEndpoint, use: (port: SerialPort) => void): Promise<void> {
  const { path, baudRate, parity, dataBits, stopBits } = line
  const { SerialPort } = await import('serialport')
  const port = new SerialPort({ path, baudRate, parity, dataBits, stopBits, lock: true, autoOpen: false })
  await new Promise<void>((resolve, reject) => {
    port.open((error) => {
      if (error !== null && error !== undefined) return reject(error)
      readInPlace(port)
      use(port)
      resolve()
    })
  })
}

/**
 * Two things that serialport 13 does otherwise (bindings-cpp, unix-read.js). An unplugged adapter reads as "end of file"
 * for ever: it takes 0 bytes for "nothing yet" and reads again at once, at full load and with ever more memory, instead of
 * reporting the end; lines are opened with VMIN 1, where 0 bytes mean nothing but the end. And it reads by way of a thread,
 * so that what the kernel holds comes in some turns later: a request could go out while the bytes before it are unread.
 * Lines are opened non-blocking, so reading in place takes no time.
 */
function readInPlace(port: SerialPort): void {
  const binding = port.port as unknown as Partial<UnixBinding> | undefined
  if (binding?.poller !== undefined && typeof binding.fd === 'number') binding.read = readUntilHangup
}

async function readUntilHangup(
  this: UnixBinding,
  buffer: Buffer,
  offset: number,
  length: number,
): Promise<{ buffer: Buffer; bytesRead: number }> {
  for (;;) {
    if (!this.isOpen || this.fd === null) throw Object.assign(new Error('Port is not open'), { canceled: true })
    const bytesRead = readNow(this.fd, buffer, offset, length)
    if (bytesRead === 0) throw Object.assign(new Error('the line hung up'), { disconnect: true })
    if (bytesRead !== undefined) return { buffer, bytesRead }
    await new Promise<void>((resolve, reject) => {
      this.poller.once('readable', (failure) => (failure === null ? resolve() : reject(failure)))
    })
  }
}

/** Undefined where there is nothing to read yet. */
function readNow(fd: number, buffer: Buffer, offset: number, length: number): number | undefined {
  try {
    return readSync(fd, buffer, offset, length, null)
  } catch (error) {
    if (WAITING.includes((error as NodeJS.ErrnoException).code ?? '')) return undefined
    throw Object.assign(error as Error, { disconnect: true })
  }
}
