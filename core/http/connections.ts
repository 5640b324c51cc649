import type { Server } from 'node:http'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { networkOf } from './rate-table.js'

export interface ConnectionBounds {
  readonly total: number
  /** Of one address (of IPv6: of one network of 64 bits): below the whole, so that nobody can take all of them. */
  readonly perAddress: number
}

export const CONNECTION_BOUNDS: ConnectionBounds = { total: 1_000, perAddress: 250 }

/** A connection too many is closed without a word; the log says it, once a minute. */
export function boundConnections(
  server: Server,
  { total, perAddress }: ConnectionBounds,
  { logger, clock }: { readonly logger: Logger; readonly clock: Clock },
): void {
  const open = new Map<string, number>()
  let toldAt = Number.NEGATIVE_INFINITY
  const tell = (facts: object) => {
    const now = clock.monotonic()
    if (now - toldAt < 60_000) return
    toldAt = now
    logger.warn(facts, 'connections to the sidecar are refused: too many are open')
  }
  server.maxConnections = total
  server.on('drop', () => tell({ connections: total }))
  server.on('connection', (socket) => {
    const address = networkOf(socket.remoteAddress ?? '')
    const others = open.get(address) ?? 0
    if (others >= perAddress) {
      tell({ connections: perAddress, address })
      socket.destroy()
      return
    }
    open.set(address, others + 1)
    socket.once('close', () => {
      const left = open.get(address)! - 1
      if (left === 0) open.delete(address)
      else open.set(address, left)
    })
  })
}
