import { readFile } from 'node:fs/promises'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer } from 'node:tls'
import type { Logger } from '../../observability/logger.js'
import type { Clock } from '../../support/clock.js'
import { RouteMQError } from '../../support/errors.js'
import type { Channel } from './channel.js'
import { FrameReader } from './frame-reader.js'
import type { ServerFraming } from './server-framing.js'
import type { Peer, Slave } from './slave.js'

/** Certificate and key of a TLS server, as PEM text or paths; `ca` makes a client certificate mandatory. */
export interface ServerTls {
  readonly cert: string
  readonly key: string
  readonly ca?: string
}

export interface TcpChannelOptions {
  readonly host: string
  /** 0 takes a free one. */
  readonly port: number
  /** Takes a free port where `port` is taken. */
  readonly mayMove: boolean
  readonly tls: ServerTls | undefined
  readonly framing: ServerFraming
  readonly slave: Slave
  readonly clock: Clock
  readonly logger: Logger
}

/** Without a length in the frame (RTU over TCP), a pause of this ends what was begun: networks pause longer than lines. */
const SETTLE_MS = 500
/** A master more, and the one that was silent the longest goes: nobody else can tell which of them are gone. */
const MOST_MASTERS = 250
/** Bytes of requests carried out before it is looked whether their answers go out: an answer is up to twenty times as long. */
const PORTION = 512

/** Listens on a TCP or TLS port. @throws RouteMQError PORT_IN_USE */
export async function openTcpChannel(options: TcpChannelOptions): Promise<Channel> {
  const { host, framing, slave, clock, logger } = options
  /** Those that were silent the longest first. */
  const sockets = new Set<Socket>()
  const serve = (socket: Socket) => {
    if (sockets.size >= MOST_MASTERS) {
      const [silent] = sockets
      logger.debug({ peer: silent?.remoteAddress, masters: sockets.size }, 'a master more than can be served')
      silent?.destroy()
    }
    sockets.add(socket)
    socket.setNoDelay(true)
    const peer: Peer = {
      send: (bytes) => {
        // A master that does not read is not read from either, so that answers cannot pile up.
        if (socket.writable && !socket.write(bytes)) socket.pause()
      },
      reset: () => socket.resetAndDestroy(),
    }
    const reader = new FrameReader(slave, framing, peer, SETTLE_MS, clock)
    socket.on('drain', () => socket.resume())
    const take = (bytes: Buffer) => {
      for (let at = 0; at < bytes.length; at += PORTION) {
        if (socket.isPaused()) return void socket.unshift(bytes.subarray(at))
        reader.push(bytes.subarray(at, at + PORTION))
      }
    }
    socket.on('data', (bytes: Buffer) => {
      sockets.delete(socket)
      sockets.add(socket)
      socket.cork()
      try {
        take(bytes)
      } catch (error) {
        logger.debug({ peer: socket.remoteAddress, error: (error as Error).message }, 'a master sent no Modbus')
        socket.destroy()
      }
      socket.uncork()
    })
    // A master that goes away in the middle is no event for the device.
    socket.on('error', (error) => logger.debug({ peer: socket.remoteAddress, error: error.message }, 'a master left'))
    socket.on('close', () => {
      reader.close()
      sockets.delete(socket)
    })
  }
  const server = await createListener(options.tls, serve)
  try {
    await listen(server, host, options.port)
  } catch (cause) {
    if ((cause as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw cause
    if (!options.mayMove) {
      throw new RouteMQError('PORT_IN_USE', `Port ${options.port} on ${host} is taken`, {
        details: { host, port: options.port },
        cause,
      })
    }
    await listen(server, host, 0)
  }
  server.on('error', (error) =>
    logger.warn({ error: error.message }, 'the virtual device could not accept a connection'),
  )
  const address = server.address()
  const port = typeof address === 'object' && address !== null ? address.port : options.port
  let closing: Promise<void> | undefined
  return {
    host,
    port,
    close() {
      closing ??= new Promise((resolve) => {
        server.close(() => resolve())
        for (const socket of sockets) socket.destroy()
      })
      return closing
    },
  }
}

async function createListener(tls: ServerTls | undefined, serve: (socket: Socket) => void): Promise<Server> {
  if (tls === undefined) return createServer(serve)
  const [cert, key, ca] = await Promise.all([tls.cert, tls.key, tls.ca].map(pem))
  const server = createTlsServer({
    minVersion: 'TLSv1.2',
    ...(cert === undefined ? {} : { cert }),
    ...(key === undefined ? {} : { key }),
    ...(ca === undefined ? {} : { ca, requestCert: true, rejectUnauthorized: true }),
  })
  server.on('secureConnection', serve)
  return server
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen({ host, port }, () => {
      server.off('error', reject)
      resolve()
    })
  })
}

async function pem(source: string | undefined): Promise<string | undefined> {
  return source === undefined || source.includes('-----BEGIN') ? source : readFile(source, 'utf8')
}
