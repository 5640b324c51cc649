import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { atCleanUp } from './kit.js'

export interface Proxy {
  readonly url: string
  /** Cuts every connection as a pulled cable does. */
  cut(): void
  /** Stops or allows new connections. */
  refuse(on: boolean): void
  /** Lets nothing of the broker through to new connections but its CONNACK. */
  mute(on: boolean): void
  connections(): number
  close(): Promise<void>
}

/** A TCP proxy in front of a broker that a test may cut. */
export async function startProxy(target: number): Promise<Proxy> {
  const pairs = new Set<readonly [Socket, Socket]>()
  let refusing = false
  let muting = false
  let count = 0
  const server: Server = createServer((near) => {
    if (refusing) {
      near.destroy()
      return
    }
    count += 1
    const far = connect(target, '127.0.0.1')
    const pair = [near, far] as const
    pairs.add(pair)
    const end = () => {
      pairs.delete(pair)
      near.destroy()
      far.destroy()
    }
    for (const socket of pair) {
      socket.setNoDelay(true)
      socket.on('error', end)
      socket.on('close', end)
    }
    near.pipe(far)
    if (muting) far.once('data', (bytes: Buffer) => far.resume() && near.write(bytes.subarray(0, 2 + bytes[1]!)))
    else far.pipe(near)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const cut = () => {
    for (const [near, far] of pairs) {
      near.resetAndDestroy()
      far.resetAndDestroy()
    }
  }
  const close = () =>
    new Promise<void>((resolve) => {
      server.close(() => resolve())
      cut()
    })
  atCleanUp(close)
  return {
    url: `mqtt://127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut,
    refuse: (on) => {
      refusing = on
    },
    mute: (on) => {
      muting = on
    },
    connections: () => count,
    close,
  }
}
