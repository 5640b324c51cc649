import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { TcpLink } from '../../../../core/modbus/transport/tcp-link.js'

const LIMIT = 10_000

test('what is written in one turn and in the next arrives whole and in its order, and is told in its order', async (t) => {
  const server = createServer()
  t.after(() => server.close())
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const accepted = once(server, 'connection') as Promise<[Socket]>
  const link = new TcpLink({ kind: 'tcp', host: '127.0.0.1', port: (server.address() as AddressInfo).port })
  await link.open({ data: () => {}, closed: () => {} }, LIMIT)
  const [peer] = await accepted
  t.after(() => peer.destroy())
  const chunks: Buffer[] = []
  peer.on('data', (bytes) => chunks.push(bytes))
  const told: number[] = []
  const numbers = Array.from({ length: 60 }, (_, n) => n)
  for (const n of numbers) {
    assert.equal(
      link.write(Buffer.of(n, n), () => told.push(n)),
      true,
    )
    // Now the same turn, now another one, now from a promise.
    if (n % 7 === 6) await Promise.resolve()
    if (n % 13 === 12) await new Promise((resolve) => setImmediate(resolve))
  }
  // What was written in this turn leaves with it.
  await new Promise((resolve) => setImmediate(resolve))
  const ended = once(peer, 'end')
  await link.close()
  await ended
  assert.deepEqual(
    [...Buffer.concat(chunks)],
    numbers.flatMap((n) => [n, n]),
  )
  assert.deepEqual(told, numbers)
  assert.equal(link.write(Buffer.of(1)), false, 'a closed link takes nothing')
})
