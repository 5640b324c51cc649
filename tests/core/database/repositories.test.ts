import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { sql } from 'kysely'
import type { Store } from '../../../core/database/store.js'
import type { DeadLetter, StoredMessage } from '../../../core/delivery/delivery-store.js'
import type { Clock } from '../../../core/support/clock.js'
import { systemClock } from '../../../core/support/clock.js'
import { type OwnDatabase, onEachDatabase, openStore } from './databases.js'
import { ownStore } from './own-store.js'

onEachDatabase((kind) => {
  describe(`repositories on ${kind}`, () => {
    let config: OwnDatabase['config']
    let store: Store
    let monotonic = 0
    let wall = Date.parse('2026-03-01T12:00:00.000Z')
    const clock: Clock = { ...systemClock, now: () => wall, monotonic: () => monotonic }

    before(async () => {
      ;({ store, config } = await ownStore(kind, { clock }))
    })

    test('a device comes back as it was given, defaults filled in', async () => {
      const points = [{ name: 'température', address: 4, type: 'int64', invalid: [1, 2] }] as const
      const input = { device_id: 'meter-1', host: '10.0.0.1', port: 502, framer: 'SOCKET', points } as const
      const record = await store.devices.insert({ ...input, options: { in_flight: 4 } })
      assert.deepEqual(record, {
        ...input,
        points: [...points],
        options: { in_flight: 4 },
        slave_id: 1,
        unit_id: null,
        timeout: 10,
        timeout_ms: null,
        poll_timeout_ms: null,
        transport: 'tcp',
        path: null,
        baud_rate: null,
        parity: null,
        data_bits: null,
        stop_bits: null,
        max_retries: 5,
        retry_delay: 0.1,
        write_enabled: true,
        raw_write: 'allow',
        is_active: true,
        created_at: '2026-03-01T12:00:00.000000Z',
        updated_at: '2026-03-01T12:00:00.000000Z',
      })
      assert.deepEqual(await store.devices.get('meter-1'), record)
    })

    test('an id is taken once, and case and trailing spaces tell ids apart', async () => {
      await assert.rejects(store.devices.insert({ device_id: 'meter-1' }), { code: 'DEVICE_EXISTS' })
      await store.devices.insert({ device_id: 'METER-1' })
      await store.devices.insert({ device_id: 'meter-1 ' })
      assert.equal((await store.devices.list()).length, 3)
      assert.equal((await store.devices.get('METER-1'))?.device_id, 'METER-1')
      assert.equal(await store.devices.get('Meter-1'), undefined)
    })

    test('an update changes what it names, and an unknown device is told', async () => {
      wall += 1_000
      const record = await store.devices.update('meter-1', { port: 1502, timeout_ms: 250.5, write_enabled: false })
      assert.equal(record.port, 1502)
      assert.equal(record.timeout_ms, 250.5)
      assert.equal(record.write_enabled, false)
      assert.equal(record.host, '10.0.0.1')
      assert.equal(record.updated_at, '2026-03-01T12:00:01.000000Z')
      assert.equal(record.created_at, '2026-03-01T12:00:00.000000Z')
      await assert.rejects(store.devices.update('nobody', { port: 1 }), { code: 'DEVICE_UNKNOWN' })
    })

    test('deleting is soft', async () => {
      assert.equal((await store.devices.setActive('METER-1', false)).is_active, false)
      const active = (await store.devices.list(true)).map(({ device_id }) => device_id)
      assert.deepEqual(active, ['meter-1', 'meter-1 '])
      assert.equal((await store.devices.setActive('METER-1', true)).is_active, true)
    })

    test('seeding happens once in the life of a database and leaves known devices alone', async () => {
      assert.equal(await store.devices.seed([]), false)
      const seeds = [{ device_id: 'meter-1', host: 'other' }, { device_id: 'seeded' }]
      const outcomes = await Promise.all([store.devices.seed(seeds), store.devices.seed(seeds)])
      assert.deepEqual(outcomes.sort(), [false, true])
      assert.equal((await store.devices.get('meter-1'))?.host, '10.0.0.1')
      assert.ok(await store.devices.get('seeded'))
      assert.equal(await store.devices.seed([{ device_id: 'late' }]), false)
      assert.equal(await store.devices.get('late'), undefined)
    })

    test('targets count their ids up and are filtered', async () => {
      const first = await store.targets.insert({ device_id: 'meter-1', address: 10, count: 4, interval_ms: 500 })
      const second = await store.targets.insert({ device_id: 'seeded', address: 1, options: { deadband: 0.5 } })
      assert.equal(typeof first.id, 'number')
      assert.ok(second.id > first.id)
      assert.deepEqual(
        [first.register_type, first.count, first.publish, first.is_active],
        ['holding', 4, 'always', true],
      )
      assert.deepEqual(second.options, { deadband: 0.5 })
      assert.deepEqual(await store.targets.list({ deviceId: 'meter-1' }), [first])
      const changed = await store.targets.update(first.id, { publish: 'change', interval_ms: null })
      assert.deepEqual([changed.publish, changed.interval_ms, changed.address], ['change', null, 10])
      await store.targets.setActive(second.id, false)
      assert.deepEqual(
        (await store.targets.list({ activeOnly: true })).map(({ id }) => id),
        [first.id],
      )
      await assert.rejects(store.targets.update(9_999, { count: 2 }), { code: 'TARGET_UNKNOWN' })
      assert.equal(await store.targets.seed([{ device_id: 'seeded', address: 7 }]), true)
      assert.equal(await store.targets.seed([{ device_id: 'seeded', address: 8 }]), false)
      assert.equal((await store.targets.list()).length, 3)
    })

    test('the revision tells of every edit, by hand too, and of nothing else', async () => {
      const seen = [await store.revision.current()]
      assert.equal(await store.revision.current(), seen[0])
      await sql`update routemq_devices set port = 1503 where device_id = 'meter-1'`.execute(store.kysely)
      seen.push(await store.revision.current())
      await sql`insert into routemq_devices (device_id, host, port) values ('by-hand', 'h', 502)`.execute(store.kysely)
      seen.push(await store.revision.current())
      await sql`insert into routemq_targets (device_id, address) values ('by-hand', 5)`.execute(store.kysely)
      seen.push(await store.revision.current())
      await sql`delete from routemq_targets where device_id = 'by-hand'`.execute(store.kysely)
      seen.push(await store.revision.current())
      const other = await openStore(config)
      await sql`update routemq_devices set port = 1504 where device_id = 'meter-1'`.execute(other.kysely)
      await other.close()
      seen.push(await store.revision.current())
      const undone = store.kysely.transaction().execute(async (transaction) => {
        await sql`update routemq_devices set port = 1505`.execute(transaction)
        await store.revision.current()
        throw new Error('taken back')
      })
      await assert.rejects(undone, { message: 'taken back' })
      await store.events.append([{ kind: 'x', message: 'not an inventory' }])
      assert.equal(await store.revision.current(), seen.at(-1))
      for (const [index, revision] of seen.entries()) assert.notEqual(revision, seen[index - 1])
      const byHand = await store.devices.get('by-hand')
      assert.deepEqual([byHand?.slave_id, byHand?.framer, byHand?.is_active, byHand?.points], [1, 'RTU', true, []])
    })

    test('an entry that is appended again under its id is there once', async () => {
      const event = { id: 'e1', kind: 'once', message: 'x' }
      await store.events.append([event, { kind: 'once', message: 'without an id' }])
      await store.events.append([event, { id: 'e2', kind: 'once', message: 'y' }])
      assert.equal((await store.events.list({ kind: 'once' })).length, 3)
      const entry = { id: 'a1', actor: { kind: 'http', name: 'x' }, action: 'once', outcome: 'ok' } as const
      await store.audit.append([entry])
      await store.audit.append([entry])
      assert.equal((await store.audit.list({ kind: 'once' })).length, 1)
    })

    test('events and audit are listed newest first, in pages', async () => {
      await store.events.append(
        [1, 2, 3].map((n) => ({ kind: 'bus.lost', device_id: 'meter-1', message: `no ${n}`, details: { n } })),
      )
      const [third, second] = await store.events.list({ kind: 'bus.lost', limit: 2 })
      assert.deepEqual([third?.message, second?.message], ['no 3', 'no 2'])
      assert.deepEqual(third?.details, { n: 3 })
      const rest = await store.events.list({ kind: 'bus.lost', before: second!.id })
      assert.deepEqual(
        rest.map(({ message }) => message),
        ['no 1'],
      )
      const entry = {
        actor: { kind: 'mqtt', name: "devices/o'brien/write" },
        action: 'write',
        device_id: 'meter-1',
        subject: 'holding/10',
        before: 1,
        after: [2, true, '9007199254740993', 'Ünïcode\u0001'],
        outcome: 'unknown',
        code: 'WRITE_OUTCOME_UNKNOWN',
        duration_ms: 1.25,
        details: { request_id: 'a1' },
        at: Date.parse('2026-03-01T11:00:00Z') + 0.5,
      } as const
      await store.audit.append([entry])
      const [found] = await store.audit.list({ device_id: 'meter-1' })
      const { at: _, ...told } = entry
      assert.deepEqual(found, { id: found!.id, time: '2026-03-01T11:00:00.000500Z', ...told })
      assert.deepEqual(await store.audit.list({ kind: 'other' }), [])
    })

    const message = {
      route: 'devices.write',
      topic: 'devices/a/write',
      payload: Buffer.from('{"address":1}').toString('base64'),
      qos: 1 as const,
      retain: false,
      properties: { responseTopic: 'x/response', userProperties: { a: ['1', '2'] } },
      receivedAt: 1_700_000_000_000.5,
      deadline: 1_700_000_030_000,
    } satisfies StoredMessage

    test('dead letters are kept whole, listed newest first, and put twice they are there once', async () => {
      const error = { code: 'DEVICE_TIMEOUT', message: 'x' } as const
      const letter = (failedAt: number): DeadLetter => ({ ...message, error, attempts: 3, failedAt })
      const ids = []
      for (let n = 0; n < 5; n++) ids.push(await store.deadLetters.put(letter(wall + Math.floor(n / 2))))
      await store.deadLetters.put(letter(wall + 2), ids[4]!)
      assert.equal(await store.deadLetters.count(), 5)
      assert.deepEqual(await store.deadLetters.get(ids[0]!), { ...letter(wall), id: ids[0]! })
      const first = await store.deadLetters.list({ limit: 2 })
      const second = await store.deadLetters.list({ limit: 2, after: first[1]!.id })
      const third = await store.deadLetters.list({ limit: 2, after: second[1]!.id })
      const all = [...first, ...second, ...third]
      assert.ok(all.every((head) => !('payload' in head)))
      assert.equal(new Set(all.map(({ id }) => id)).size, 5)
      assert.deepEqual(
        all.map(({ failedAt }) => failedAt - wall),
        [2, 1, 1, 0, 0],
      )
      assert.deepEqual(await store.deadLetters.list({ route: 'other' }), [])
      assert.equal(await store.deadLetters.forget(ids[0]!), true)
      assert.equal(await store.deadLetters.forget(ids[0]!), false)
      assert.equal(await store.deadLetters.get(ids[0]!), undefined)
    })

    test('parked messages come back in the order of parking', async () => {
      const park = (n: number) => store.parked.put({ ...message, key: `k${n}`, attempt: n })
      const ids = [await park(1), await park(2), await park(3)]
      assert.deepEqual(
        (await store.parked.list()).map(({ id, attempt }) => [id, attempt]),
        ids.map((id, n) => [id, n + 1]),
      )
      assert.equal(await store.parked.remove(ids[1]!), true)
      assert.deepEqual(
        (await store.parked.list()).map(({ key }) => key),
        ['k1', 'k3'],
      )
      assert.equal(await store.parked.count(), 2)
      const { payload, key, attempt } = (await store.parked.get(ids[2]!))!
      assert.deepEqual([payload, key, attempt], [message.payload, 'k3', 3])
      assert.ok(
        (await store.parked.list()).every((head) => !('payload' in head)),
        'what waits is read without payloads',
      )
      assert.equal(await store.parked.get(ids[1]!), undefined)
    })

    test('of parked messages a damaged row keeps nobody from the others, and one of an earlier version is whole', async () => {
      for (const { id } of await store.parked.list()) await store.parked.remove(id)
      const ids = [1, 2, 3].map((n) => `row-${n}`)
      for (const id of ids) await store.parked.put({ ...message, key: undefined, attempt: 1 }, id)
      const before = JSON.stringify({ ...message, attempt: 1 })
      await sql`update routemq_parked set record = ${before}, body = null where parked_id = ${ids[0]}`.execute(
        store.kysely,
      )
      await sql`update routemq_parked set record = '{"route' where parked_id = ${ids[1]}`.execute(store.kysely)
      const damaged: string[] = []
      const { heads } = await store.parked.page(10, 0, (id) => damaged.push(id))
      assert.deepEqual([heads.map(({ id }) => id), damaged], [[ids[0], ids[2]], [ids[1]]])
      assert.ok(heads.every((head) => !('payload' in head)))
      assert.equal((await store.parked.get(ids[0]!))?.payload, message.payload)
      assert.equal(await store.parked.get(ids[1]!), undefined)
    })

    const me = { instance: 'i', boot: 'b1' }

    test('of many claims at once one runs; later copies get its outcome', async () => {
      const claims = await Promise.all(Array.from({ length: 10 }, () => store.idempotency.claim('k1', 'hash', me)))
      assert.equal(claims.filter(({ state }) => state === 'claimed').length, 1)
      assert.equal(claims.filter(({ state }) => state === 'running').length, 9)
      await assert.rejects(store.idempotency.claim('k1', 'other', me), { code: 'IDEMPOTENCY_KEY_REUSED' })
      await store.idempotency.complete('k1', { ok: true, value: { a: [1, '9007199254740993'] } })
      await store.idempotency.complete('k1', { ok: false, error: { code: 'INTERNAL', message: 'late' } })
      await store.idempotency.release('k1') // has an outcome: stays
      assert.deepEqual(await store.idempotency.claim('k1', 'hash', me), {
        state: 'done',
        outcome: { ok: true, value: { a: [1, '9007199254740993'] } },
      })
      assert.equal((await store.idempotency.get('k1'))?.state, 'done')
    })

    test('a claim of an earlier life was interrupted; one of another installation runs for a minute', async () => {
      await store.idempotency.claim('k2', 'hash', me)
      assert.equal((await store.idempotency.claim('k2', 'hash', { ...me, boot: 'b2' })).state, 'interrupted')
      const other = { instance: 'j', boot: 'x' }
      assert.equal((await store.idempotency.claim('k2', 'hash', other)).state, 'running')
      wall += 61_000
      assert.equal((await store.idempotency.claim('k2', 'hash', other)).state, 'interrupted')
      await store.idempotency.release('k2')
      assert.equal((await store.idempotency.claim('k2', 'hash', other)).state, 'claimed')
    })

    test('keys longer than a column, and keys that look like SQL, are told apart', async () => {
      const long = 'x'.repeat(5_000)
      for (const key of [`${long}a`, `${long}b`, "'; drop table routemq_claims; --", 'K1']) {
        assert.equal((await store.idempotency.claim(key, 'h', me)).state, 'claimed')
        assert.equal((await store.idempotency.claim(key, 'h', me)).state, 'running')
      }
    })

    test('a lease has one holder; a challenger must see it unrenewed for a whole term', async () => {
      const [a, b] = await Promise.all([
        store.leases.acquire('bus', 'a', 8_000),
        store.leases.acquire('bus', 'b', 8_000),
      ])
      assert.equal([a, b].filter(({ held }) => held).length, 1)
      const [holder, challenger] = a.held ? ['a', 'b'] : ['b', 'a']
      for (let n = 0; n < 6; n++) {
        monotonic += 2_000
        await new Promise((resolve) => setTimeout(resolve, 3)) // the database's own clock must move on
        assert.deepEqual(await store.leases.acquire('bus', holder, 8_000), { held: true, epoch: 1 })
        assert.equal((await store.leases.acquire('bus', challenger, 8_000)).held, false)
      }
      for (let n = 0; n < 3; n++) {
        monotonic += 2_000
        assert.equal((await store.leases.acquire('bus', challenger, 8_000)).held, false)
      }
      monotonic += 2_000
      assert.deepEqual(await store.leases.acquire('bus', challenger, 8_000), { held: true, epoch: 2 })
      assert.deepEqual(await store.leases.acquire('bus', holder, 8_000), { held: false, owner: challenger, epoch: 2 })
    })

    test('a challenger that did not look for a while starts its term anew', async () => {
      await store.leases.acquire('bus2', 'a', 8_000)
      await store.leases.acquire('bus2', 'b', 8_000)
      monotonic += 60_000 // the database was away: neither renewed, neither looked
      assert.equal((await store.leases.acquire('bus2', 'b', 8_000)).held, false)
    })

    test('a lease that is given back is free at once', async () => {
      await store.leases.acquire('bus3', 'a', 8_000)
      await store.leases.release('bus3', 'b') // not the holder: nothing
      assert.equal((await store.leases.acquire('bus3', 'b', 8_000)).held, false)
      await store.leases.release('bus3', 'a')
      assert.deepEqual(await store.leases.acquire('bus3', 'b', 8_000), { held: true, epoch: 2 })
      const names = (await store.leases.list()).map(({ name, owner }) => `${name}:${owner}`)
      assert.ok(names.includes('bus3:b'))
    })

    test('API keys are kept without the key and revoked once', async () => {
      const key = {
        prefix: 'rmq_abcd',
        hash: 'f'.repeat(64),
        name: 'line 3',
        scope: 'write',
        created_at: '2026-03-01T12:00:00.000000Z',
        expires_at: '2027-03-01T12:00:00.000000Z',
        revoked_at: null,
      } as const
      await store.keys.add(key)
      assert.deepEqual(await store.keys.list(), [key])
      assert.equal(await store.keys.revoke('rmq_abcd'), true)
      assert.equal(await store.keys.revoke('rmq_abcd'), false)
      assert.notEqual((await store.keys.list())[0]?.revoked_at, null)
    })

    test('a key expires at a time that can be kept; a row that is none hides no other', async () => {
      const key = (prefix: string, expires_at: string | null) => ({
        prefix,
        hash: 'f'.repeat(64),
        name: prefix,
        scope: 'read' as const,
        created_at: '2026-03-02T12:00:00.000000Z',
        expires_at,
        revoked_at: null,
      })
      for (const never of ['9999-12-31T23:59:59Z', 'soon']) {
        await assert.rejects(store.keys.add(key('never', never)), { code: 'REQUEST_INVALID', message: /2255-06-05T23/ })
      }
      await store.keys.add(key('last', '2255-06-05T23:47:34.740991Z'))
      // As an earlier version took them, and as hands make them.
      const insert = (prefix: string, scope: string, expires: string) =>
        sql`insert into routemq_api_keys (prefix, hash, name, scope, created_us, expires_us)
          values (${prefix}, 'h', 'n', ${scope}, 1, ${sql.raw(expires)})`.execute(store.kysely)
      await insert('late', 'read', '253402300799000001')
      await insert('beyond', 'read', '9223372036854775807')
      await insert('root', 'root', '1')
      const damaged: string[] = []
      const keys = await store.keys.list((prefix) => damaged.push(prefix))
      const found = new Map(keys.map(({ prefix, expires_at }) => [prefix, expires_at]))
      assert.equal(found.get('last'), '2255-06-05T23:47:34.740991Z')
      assert.equal(found.get('late'), '9999-12-31T23:59:59.000001Z')
      assert.deepEqual(damaged.sort(), ['beyond', 'root'])
    })

    test('an application has its own tables, exact integers included', async () => {
      const db = store.kysely
      await sql`create table my_counters (name varchar(20) primary key, total bigint)`.execute(db)
      await sql`insert into my_counters values ('a', 9007199254740993), ('b', 5)`.execute(db)
      const { rows } = await sql`select name, total from my_counters order by name`.execute(db)
      assert.deepEqual(rows, [
        { name: 'a', total: 9007199254740993n },
        { name: 'b', total: 5 },
      ])
    })

    test('a transaction that fails leaves nothing, and others wait for it', async () => {
      const failing = store.kysely.transaction().execute(async (transaction) => {
        await sql`insert into my_counters values ('gone', 1)`.execute(transaction)
        await new Promise((resolve) => setTimeout(resolve, 20))
        throw new Error('on purpose')
      })
      const beside = store.events.append([{ kind: 'beside', message: 'x' }])
      await assert.rejects(failing, /on purpose/)
      await beside
      const { rows } = await sql`select * from my_counters where name = 'gone'`.execute(store.kysely)
      assert.deepEqual(rows, [])
      assert.equal((await store.events.list({ kind: 'beside' })).length, 1)
    })

    test('an error of a statement is not taken for the database being away', async () => {
      await assert.rejects(
        sql`select * from no_such_table`.execute(store.kysely),
        (error: Error) => !('facts' in error),
      )
      assert.equal(store.state.name, 'ok')
    })
  })
})
