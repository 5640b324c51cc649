import { Readable } from 'node:stream'
import type { IStore } from 'mqtt'

type Callback = Parameters<IStore['put']>[1]
type PacketCallback = Parameters<IStore['get']>[1]

/**
 * In place of the library's store of unacknowledged publishes: keeps nothing. Each connection has a new client object, so
 * nothing could be sent again from it; what must survive a loss of the connection lies in the outbox.
 */
export class NoStore implements IStore {
  put(_packet: unknown, done: Callback): this {
    done()
    return this
  }

  del(packet: { messageId?: number | undefined }, done: PacketCallback): this {
    done(undefined, packet as Parameters<PacketCallback>[1])
    return this
  }

  get(_packet: unknown, done: PacketCallback): this {
    done(new Error('nothing is stored'))
    return this
  }

  createStream(): ReturnType<IStore['createStream']> {
    return Readable.from([]) as unknown as ReturnType<IStore['createStream']>
  }

  close(done: Callback): void {
    done()
  }
}
