import assert from 'node:assert/strict'
import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { test } from 'node:test'
import { openStore } from './databases.js'

/** A message of PostgreSQL's protocol: its letter, its length, its body. */
function message(letter: string, body: Buffer): Buffer {
  const head = Buffer.alloc(5)
  head.write(letter)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}

const LET_IN = message('R', Buffer.alloc(4))
const READY = message('Z', Buffer.from('I'))
const DYING = message('E', Buffer.from('SFATAL\0C57P01\0Mterminating connection due to unexpected postmaster exit\0\0'))

test('a server that dies in the moment it lets us in is a database that is away, and ends nothing', async (t) => {
  const server = createServer((socket) => {
    socket.on('error', () => {})
    socket.once('data', () => socket.end(Buffer.concat([LET_IN, READY, DYING])))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `postgres://postgres@127.0.0.1:${(server.address() as AddressInfo).port}/none`
  const store = await openStore({ kind: 'postgres', url, poolSize: 2, echo: false }, { migrate: false })
  t.after(async () => {
    await store.close()
    server.close()
  })
  assert.equal(store.state.name, 'disconnected')
  await assert.rejects(store.ping(), { code: 'DATABASE_UNAVAILABLE' })
})
