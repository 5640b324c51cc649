import type { SerialPort } from 'serialport'
import type { Logger } from '../../observability/logger.js'
import { Backoff } from '../../support/backoff.js'
import type { Clock } from '../../support/clock.js'
import { openSerialPort, type SerialEndpoint } from '../transport/serial-port.js'
import { asciiServerFraming } from './ascii-server-framing.js'
import type { Channel } from './channel.js'
import { FrameReader } from './frame-reader.js'
import { OwnEcho } from './own-echo.js'
import { rtuServerFraming } from './rtu-server-framing.js'
import type { Peer, Slave } from './slave.js'

export interface SerialChannelOptions {
  readonly line: SerialEndpoint
  readonly slave: Slave
  readonly clock: Clock
  readonly logger: Logger
}

/** Longer than the lumps in which USB adapters deliver (16 ms). */
const LEAST_SETTLE_MS = 50

/**
 * Answers on a serial line. A line that goes away (an unplugged adapter) is opened again with back-off.
 * Rejects where the line cannot be opened at the start.
 */
export async function openSerialChannel({ line, slave, clock, logger }: SerialChannelOptions): Promise<Channel> {
  const framing = line.kind === 'serial_rtu' ? rtuServerFraming : asciiServerFraming
  const characterMs = 11_000 / line.baudRate
  // 3.5 characters between frames, at least 1.75 ms (Modbus over Serial Line V1.02, 2.5.1.1): masters need that long to
  // turn their transceiver round.
  const turnaroundMs = Math.max(1.75, 3.5 * characterMs)
  const settleMs = Math.max(LEAST_SETTLE_MS, 10 * characterMs)
  const backoff = new Backoff({ first: 250, max: 5_000 })
  const echo = new OwnEcho(clock, characterMs)
  let port: SerialPort | undefined
  let reader: FrameReader | undefined
  let cancelReopen: (() => void) | undefined
  let isClosed = false

  const peer: Peer = {
    send(bytes) {
      const open = port
      clock.after(turnaroundMs, () => {
        if (open !== port || open?.isOpen !== true) return
        echo.sent(bytes)
        open.write(bytes)
      })
    },
    reset: () => {},
  }
  const open = () =>
    openSerialPort(line, (opened) => {
      if (isClosed) return opened.close(() => {})
      const frames = new FrameReader(slave, framing, peer, settleMs, clock)
      port = opened
      reader = frames
      opened.on('data', (bytes: Buffer) => {
        const heard = echo.pass(bytes)
        if (heard.length > 0) frames.push(heard)
      })
      opened.on('error', (failure: Error) => {
        logger.warn({ path: line.path, error: failure.message }, 'a serial line failed')
      })
      opened.on('close', () => {
        frames.close()
        if (!isClosed) reopen()
      })
    })
  const reopen = () => {
    cancelReopen = clock.after(backoff.next(), () => {
      if (isClosed) return
      open().then(
        () => {
          backoff.reset()
          logger.info({ path: line.path }, 'the serial line is back')
        },
        () => reopen(),
      )
    })
  }

  await open()
  return {
    host: line.path,
    port: 0,
    async close() {
      isClosed = true
      cancelReopen?.()
      reader?.close()
      const open = port
      if (open?.isOpen === true) await new Promise<void>((resolve) => open.close(() => resolve()))
    },
  }
}
