import { randomInt } from 'node:crypto'
import { createServer } from 'node:net'

/** Below what Linux gives to connections that go out (32768 on) and to listeners that ask for any port. */
const FIRST = 20_000
const LAST = 32_000

/**
 * A port that nobody listens on, and that no other process is given by the system until it is used, or used again. From the
 * ports that the system gives, a client of this machine could even be connected to itself while nobody listens.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(FIRST, LAST)
    if (await isFree(port)) return port
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)))
  })
}
