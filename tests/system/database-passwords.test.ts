import assert from 'node:assert/strict'
import { writeFileSync } from 'node:fs'
import { test } from 'node:test'
import { setTimeout } from 'node:timers/promises'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { AppConnections } from '../../core/database/app-database.js'
import type { StoreState } from '../../core/database/store.js'
import { openStore } from '../core/database/databases.js'
import { ownServer, whyNoServers } from '../core/database/own-servers.js'

const missing = await whyNoServers()

for (const kind of ['postgres', 'mysql'] as const) {
  test(`${kind}: a new password is used by the next connections, and those that are open are replaced without a failure`, {
    skip: missing ?? false,
  }, async (t) => {
    const server = await ownServer(kind)
    t.after(() => server.remove())
    await server.start()
    const admin = await administrator(kind, server.config.url)
    await admin.prepare()
    const config = (password: string) => {
      const url = server.config.url.replace(/\/\/[^@]+@/, `//plant:${encodeURIComponent(password)}@`)
      return { ...server.config, url }
    }
    const store = await openStore(config('first: @/?#'), { checkMs: { there: 200, away: 50 } })
    const tables = new AppConnections(config('first: @/?#'))
    try {
      assert.equal((store.state as StoreState).name, 'ok')
      const states: StoreState['name'][] = []
      store.onState(({ name }) => states.push(name))
      let asked = 0
      let ended = false
      const busy = async (ask: () => Promise<unknown>) => {
        for (; !ended; asked += 1) await ask()
      }
      const all = [
        ...Array.from({ length: 4 }, () => busy(() => store.devices.list())),
        busy(() => store.events.list()),
        busy(() => tables.db.introspection.getTables()),
      ]
      // One that fails is seen at once.
      const load = Promise.all(all)
      const until = async (holds: () => Promise<boolean> | boolean) => {
        const limit = performance.now() + 30_000
        while (!(await Promise.race([holds(), load.then(() => true)]))) {
          assert.ok(performance.now() < limit, 'never')
          await setTimeout(10)
        }
      }
      await until(() => asked > 50)
      const before = await admin.connections()
      assert.ok(before.length >= 4)
      await admin.setPassword('second')
      store.usePassword(config('second'))
      tables.usePassword(config('second'))
      await until(async () => (await admin.connections()).every((id) => !before.includes(id)))
      ended = true
      await load
      assert.equal(states.length, 0)
      // With a password that is not right, what comes back stays outside until it is.
      await admin.setPassword('third')
      await admin.disconnectAll()
      await until(() => states.includes('error'))
      store.usePassword(config('third'))
      tables.usePassword(config('third'))
      await until(() => store.state.name === 'ok')
      await store.devices.list()
      await tables.db.introspection.getTables()
    } finally {
      await store.close()
      await tables.close()
      await admin.end()
    }
  })
}

/** Whoever may do anything at the server. */
async function administrator(kind: 'postgres' | 'mysql', url: string) {
  if (kind === 'postgres') {
    const client = new pg.Client({ connectionString: url })
    await client.connect()
    return {
      async prepare() {
        await client.query(`create role plant login password 'first: @/?#'`)
        await client.query('grant all on schema public to plant')
        const { rows } = await client.query('show hba_file')
        const rules = ['postgres 127.0.0.1/32 trust', 'plant 127.0.0.1/32 scram-sha-256']
        writeFileSync(rows[0].hba_file, rules.map((rule) => `host all ${rule}\n`).join(''))
        await client.query('select pg_reload_conf()')
      },
      setPassword: (password: string) => client.query(`alter role plant password '${password}'`),
      async connections(): Promise<number[]> {
        const { rows } = await client.query(`select pid as id from pg_stat_activity where usename = 'plant'`)
        return rows.map(({ id }) => id)
      },
      disconnectAll: () =>
        client.query(`select pg_terminate_backend(pid) from pg_stat_activity where usename = 'plant'`),
      end: () => client.end(),
    }
  }
  const connection = await mysql.createConnection({ uri: url })
  const connections = async (): Promise<number[]> => {
    const [rows] = await connection.query(`select id from information_schema.processlist where user = 'plant'`)
    return (rows as { id: number }[]).map(({ id }) => id)
  }
  return {
    async prepare() {
      await connection.query(`create user plant identified by 'first: @/?#'`)
      await connection.query('grant all on own.* to plant')
      // Else that user, without a name, stands before it for connections from this host.
      await connection.query(`drop user if exists ''@'localhost'`)
    },
    setPassword: (password: string) => connection.query(`alter user plant identified by '${password}'`),
    connections,
    async disconnectAll() {
      for (const id of await connections()) await connection.query('kill ?', [id]).catch(() => {}) // gone by itself
    },
    end: () => connection.end(),
  }
}
