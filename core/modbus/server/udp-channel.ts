import { createSocket } from 'node:dgram'
import { isIPv6 } from 'node:net'
import type { Logger } from '../../observability/logger.js'
import type { Channel } from './channel.js'
import { mbapDatagramServerFraming as framing } from './mbap-server-framing.js'
import type { Slave } from './slave.js'

export interface UdpChannelOptions {
  readonly host: string
  readonly port: number
  readonly slave: Slave
  readonly logger: Logger
}

/** Listens for datagrams. Rejects with the system's error where the port cannot be had. */
export async function openUdpChannel({ host, port, slave, logger }: UdpChannelOptions): Promise<Channel> {
  const socket = createSocket(isIPv6(host) ? 'udp6' : 'udp4')
  const decoder = framing.decoder()
  socket.on('message', (bytes, from) => {
    const send = (answer: Buffer) =>
      socket.send(answer, from.port, from.address, (error) => {
        if (error !== null) logger.debug({ peer: from.address, error: error.message }, 'an answer could not be sent')
      })
    for (const request of decoder.push(bytes)) slave.receive(request, framing, { send, reset: () => {} })
  })
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject)
    socket.bind(port, host, () => {
      socket.off('error', reject)
      resolve()
    })
  })
  socket.on('error', (error) => logger.warn({ error: error.message }, 'the UDP socket of a virtual device failed'))
  let closing: Promise<void> | undefined
  return {
    host,
    port: socket.address().port,
    close() {
      closing ??= new Promise((resolve) => socket.close(resolve))
      return closing
    },
  }
}
