import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { sql } from 'kysely'
import { onAllDatabasesAtOnce, openStore, ownDatabase } from './databases.js'

const TERM_MS = 8_000
const ROUND_MS = TERM_MS / 4

/** A way to a server whose connections a test may let die unheard, as a firewall does that forgets them; new ones work. */
async function firewall(target: number) {
  const known = new Set<Socket>()
  const server = createServer((near) => {
    const far = connect(target, '127.0.0.1')
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      known.add(socket)
      socket.on('error', () => {})
      socket.on('close', () => other.destroy())
      socket.pipe(other)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    forget() {
      for (const socket of known) socket.unpipe().pause()
    },
    async close() {
      const closed = new Promise((resolve) => server.close(resolve))
      for (const socket of known) socket.destroy()
      await closed
    },
  }
}

onAllDatabasesAtOnce('leases of several installations', (kind) => {
  if (kind === 'sqlite') return

  test(`${kind}: an owner whose connection died unheard keeps its lease: it is renewed over another in time`, async (t) => {
    const own = await ownDatabase(kind)
    if (own.config.kind === 'sqlite') return
    const url = new URL(own.config.url)
    const way = await firewall(Number(url.port))
    url.port = String(way.port)
    const holder = await openStore({ ...own.config, url: url.href })
    const challenger = await openStore(own.config)
    t.after(async () => {
      await way.close()
      await Promise.all([holder.close(), challenger.close()])
      await own.drop()
    })
    const renew = () => holder.leases.acquire('bus', 'a', TERM_MS)
    assert.equal((await renew()).held, true)
    way.forget()

    const taken: boolean[] = []
    for (let isRenewed = false; !isRenewed && !taken.includes(true); ) {
      const round = pause(ROUND_MS)
      const renewing = renew().then(
        ({ held }) => held,
        () => false,
      )
      // The challenger looks as often, however long the owner waits for its answer.
      let isAnswered = false
      void renewing.then(() => {
        isAnswered = true
      })
      do {
        taken.push((await challenger.leases.acquire('bus', 'b', TERM_MS)).held)
        await pause(ROUND_MS)
      } while (!isAnswered && !taken.includes(true))
      isRenewed = await renewing
      await round
    }
    assert.ok(!taken.includes(true), 'nobody takes it meanwhile')
    assert.deepEqual(await renew(), { held: true, epoch: 1 })
  })

  test(`${kind}: leases wait for no connection that others keep busy`, async (t) => {
    const own = await ownDatabase(kind)
    if (own.config.kind === 'sqlite') return
    const store = await openStore({ ...own.config, poolSize: 1 })
    t.after(async () => {
      await store.close()
      await own.drop()
    })
    const order: string[] = []
    const busy = (kind === 'postgres' ? sql`select pg_sleep(2)` : sql`select sleep(2)`)
      .execute(store.kysely)
      .then(() => order.push('the long statement'))
    const lease = store.leases.acquire('bus', 'a', TERM_MS).then(() => order.push('the lease'))
    await Promise.all([busy, lease])
    assert.deepEqual(order, ['the lease', 'the long statement'])
  })
})
