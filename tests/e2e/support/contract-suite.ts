import assert from 'node:assert/strict'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { type DatabaseKind, listens, type OwnDatabase } from './databases.js'
import { Product } from './product.js'
import { makeProject } from './project.js'
import { ok, RestClient, refused } from './rest-client.js'
import { SERVICES_REQUIRED } from './services.js'

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

const METRICS = {
  modbus: [
    'total_requests',
    'successful_requests',
    'failed_requests',
    'success_rate_percent',
    'average_latency_ms',
    'requests_by_type',
    'errors_by_type',
  ],
  cache: ['hits', 'misses', 'sets', 'evictions', 'hit_rate_percent'],
  polling: [
    'total_cycles',
    'successful_cycles',
    'failed_cycles',
    'total_targets_polled',
    'total_targets_success',
    'total_targets_failed',
    'success_rate_percent',
    'average_cycle_duration_ms',
    'last_cycle_time',
  ],
}

/** Direct edits in the database show within this time. */
const EDIT_SHOWS_MS = 60_000

/** What a NexusBus user's scripts do and expect, call by call, against the running binary on one database. */
export async function contractSuite(kind: DatabaseKind): Promise<void> {
  if (kind.port !== undefined && !SERVICES_REQUIRED && !(await listens(kind.port))) {
    console.log(`SKIPPED: the contract on ${kind.name}; nothing listens on port ${kind.port}`)
    test(`the contract on ${kind.name}`, { skip: `missing: ${kind.name}` }, () => {})
    return
  }

  describe(`the contract on ${kind.name}`, () => {
    let plant: VirtualDevice
    let silent: Server
    let project: ReturnType<typeof makeProject>
    let database: OwnDatabase
    let product: Product
    let rest: RestClient
    let gateway: string

    before(async () => {
      plant = await startVirtualDevice({
        units: {
          1: {
            holding: Object.fromEntries(Array.from({ length: 40 }, (_, address) => [address, address * 10])),
            input: { 0: 7, 1: 8 },
            coils: { 2: true },
            ranges: { holding: [[0, 199]], input: [[0, 99]], coil: [[0, 1999]], discrete: [[0, 1999]] },
          },
          2: { holding: { 0: 5 } },
          3: { holding: { 0: 5 } },
        },
      })
      silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
      gateway = `127.0.0.1:${plant.port}`
      project = makeProject({
        'app/devices.ts': `import { defineDevices } from 'routemq'
export default defineDevices({
  devices: [{ device_id: 'shipped', host: '127.0.0.1', port: ${plant.port}, slave_id: 2, framer: 'SOCKET' }],
  targets: [{ device_id: 'shipped', address: 0, interval_ms: 200 }],
})
`,
      })
      database = await kind.open(project.root)
      product = await Product.start(project.root, { env: { ROUTEMQ_DEMO: 'true', DATABASE_URL: database.url } })
      rest = new RestClient(product.run.http!.url)
    })

    after(async () => {
      const code = await product?.stop()
      silent?.close()
      await plant?.close()
      await database?.remove()
      project?.remove()
      assert.equal(code, 0, `exit code after SIGTERM\n${product?.text}`)
    })

    const meter = () => ({ device_id: 'meter-1', host: '127.0.0.1', port: plant.port, slave_id: 1, framer: 'socket' })
    const read = (query: string, id = 'meter-1') => rest.get(`/api/devices/${id}/registers?${query}`)
    const write = (body: unknown, id = 'meter-1') => rest.send('POST', `/api/devices/${id}/registers/write`, body)
    const ids = async (path: string) => (await ok(rest.get(path))).map((row: { device_id: string }) => row.device_id)

    test('GET /health', async () => {
      const body = await ok(rest.get('/health'))
      assert.match(body.timestamp, ISO)
      assert.equal(typeof body.uptime, 'number')
      assert.equal(body.version, product.run.version)
      assert.equal(typeof body.details, 'object')
      assert.deepEqual(
        [body.status, body.mode, body.services],
        ['ok', 'demo', { database: 'ok', mqtt: 'ok', modbus: 'ok', poller: 'ok', workers: 'ok' }],
      )
    })

    test('POST /api/admin/devices: 201 with every default, 409, 422 naming each field', async () => {
      const made = await ok(rest.send('POST', '/api/admin/devices', meter()), 201)
      const { created_at, updated_at, ...record } = made
      assert.match(created_at, ISO)
      assert.match(updated_at, ISO)
      assert.ok(Math.abs(Date.parse(created_at) - Date.now()) < 60_000, 'created now, UTC')
      const contract = { ...meter(), framer: 'SOCKET', timeout: 10, max_retries: 5, retry_delay: 0.1, is_active: true }
      for (const [field, value] of Object.entries(contract)) assert.deepEqual(record[field], value, field)
      await refused(rest.send('POST', '/api/admin/devices', meter()), 409, 'DEVICE_EXISTS')
      await refused(
        rest.send('POST', '/api/admin/devices', { ...meter(), device_id: 'other-framer', framer: 'RTU' }),
        409,
        'BUS_CONFLICT',
      )
      const wrong = { ...meter(), device_id: 'a/b', port: 0, slave_id: 248, timeout: 301, max_retries: 11 }
      const { body } = await refused(rest.send('POST', '/api/admin/devices', wrong), 422, 'REQUEST_INVALID')
      assert.deepEqual(body.errors.map(({ field }: { field: string }) => field).sort(), [
        'device_id',
        'max_retries',
        'port',
        'slave_id',
        'timeout',
      ])
      await refused(rest.send('POST', '/api/admin/devices', '{"device_id": '), 400, 'PAYLOAD_MALFORMED')
    })

    test('GET /api/admin/devices, /active, /{id}', async () => {
      assert.deepEqual((await ids('/api/admin/devices')).sort(), ['meter-1', 'shipped'])
      assert.deepEqual((await ids('/api/admin/devices/active')).sort(), ['meter-1', 'shipped'])
      const { slave_id, framer } = await ok(rest.get('/api/admin/devices/meter-1'))
      assert.deepEqual([slave_id, framer], [1, 'SOCKET'])
      await refused(rest.get('/api/admin/devices/nobody'), 404, 'DEVICE_UNKNOWN')
    })

    test('GET /api/devices and /api/devices/gateways', async () => {
      const devices = await ok(rest.get('/api/devices'))
      assert.deepEqual(
        devices.find((row: { device_id: string }) => row.device_id === 'meter-1'),
        { device_id: 'meter-1', host: '127.0.0.1', port: plant.port, slave_id: 1, timeout: 10, gateway },
      )
      await ok(read('address=0'))
      const gateways = await ok(rest.get('/api/devices/gateways'))
      assert.equal(gateways.length, 1, 'two devices behind one host and port are one bus')
      const { host, port, connected } = gateways[0]
      assert.deepEqual([host, port, connected], ['127.0.0.1', plant.port, true])
    })

    test('GET /api/devices/{id}/registers: defaults, types, live and cache', async () => {
      const shape = {
        device_id: 'meter-1',
        register_type: 'holding',
        address: 3,
        count: 1,
        values: [30],
        source: 'live',
      }
      const { quality, ...body } = await ok(read('address=3'))
      assert.equal(quality, 'good')
      assert.deepEqual(body, shape)
      assert.deepEqual((await ok(read('address=0&count=2&register_type=input'))).values, [7, 8])
      assert.deepEqual((await ok(read('address=1&count=2&register_type=coil'))).values, [false, true])
      assert.equal((await ok(read('address=0&count=2000&register_type=discrete'))).values.length, 2_000)
      assert.equal((await ok(read('address=20&count=5&source=cache'))).source, 'live', 'a miss falls back')
      plant.set(1, 'holding', 22, 999)
      const inside = await ok(read('address=21&count=3&source=cache'))
      assert.deepEqual([inside.source, inside.values], ['cache', [210, 220, 230]], 'a block serves any range inside it')
      assert.match(inside.cached_at, ISO)
      assert.deepEqual((await ok(read('address=22'))).values, [999])
    })

    test('GET registers: each way to fail', async () => {
      await refused(read('address=1', 'nobody'), 404, 'DEVICE_UNKNOWN')
      await refused(read('address=500'), 502, 'MODBUS_ILLEGAL_ADDRESS')
      await refused(read('address=0&count=126'), 422, 'ADDRESS_INVALID')
      for (const [query, field] of [
        ['', 'address'],
        ['address=x', 'address'],
        ['address=65536', 'address'],
        ['address=1&count=0', 'count'],
        ['address=1&register_type=coils', 'register_type'],
        ['address=1&source=magic', 'source'],
      ] as const) {
        const { body } = await refused(read(query), 422, 'REQUEST_INVALID')
        assert.equal(body.errors[0].field, field, query)
      }
      // A busy device is asked again for as long as an answer may take.
      await ok(rest.send('PUT', '/api/admin/devices/meter-1', { timeout_ms: 1_500 }))
      plant.faults.set(1, { kind: 'exception', code: 6 })
      const busy = await refused(read('address=1'), 503, 'DEVICE_BUSY')
      assert.match(busy.headers.get('retry-after') ?? '', /^[1-9]\d*$/)
      plant.faults.set(1, { kind: 'exception', code: 4 })
      await refused(read('address=1'), 502, 'DEVICE_FAILURE')
      await refused(write({ address: 1, value: 1 }), 502, 'WRITE_OUTCOME_UNKNOWN')
      plant.faults.clear(1)
      await ok(rest.send('PUT', '/api/admin/devices/meter-1', { timeout_ms: null }))
    })

    test('POST /api/devices/{id}/registers/write: one, several, coils; the cache forgets what it overlaps', async () => {
      await ok(read('address=8&count=6'))
      const one = await ok(write({ address: 10, value: 42 }))
      assert.deepEqual(one, { device_id: 'meter-1', status: 'ok', address: 10, value: 42, register_type: 'holding' })
      assert.equal(plant.get(1, 'holding', 10), 42)
      const again = await ok(read('address=9&count=2&source=cache'))
      assert.deepEqual([again.source, again.values], ['live', [90, 42]])
      const several = await ok(write({ address: 30, values: [1, 2, 3] }))
      assert.deepEqual(several, {
        device_id: 'meter-1',
        status: 'ok',
        address: 30,
        values: [1, 2, 3],
        register_type: 'holding',
      })
      assert.deepEqual(
        [30, 31, 32].map((address) => plant.get(1, 'holding', address)),
        [1, 2, 3],
      )
      const coil = await ok(write({ address: 5, value: true, register_type: 'coil' }))
      assert.deepEqual(coil, { device_id: 'meter-1', status: 'ok', address: 5, value: true, register_type: 'coil' })
      assert.equal(plant.get(1, 'coil', 5), 1)
      await ok(write({ address: 6, values: [true, false, true], register_type: 'coil' }))
      assert.deepEqual(
        [6, 7, 8].map((address) => plant.get(1, 'coil', address)),
        [1, 0, 1],
      )
      plant.faults.set(1, { kind: 'exception', code: 5, functions: [6, 16] })
      assert.equal((await ok(write({ address: 1, value: 2 }), 202)).status, 'accepted')
      plant.faults.clear(1)
    })

    test('POST write: each way to fail', async () => {
      await refused(write({ address: 1, value: 1 }, 'nobody'), 404, 'DEVICE_UNKNOWN')
      await refused(write({ address: 500, value: 1 }), 502, 'MODBUS_ILLEGAL_ADDRESS')
      await refused(write({ address: 1, value: 70_000 }), 422, 'VALUE_OUT_OF_RANGE')
      for (const [body, field] of [
        [{}, 'address'],
        [{ address: 1 }, 'value'],
        [{ address: 1, value: 'on' }, 'value'],
        [{ address: 1, value: 1, values: [1] }, 'values'],
        [{ address: 1, value: 1, register_type: 'input' }, 'register_type'],
        [{ address: 1, value: 1, adress: 1 }, 'adress'],
      ] as const) {
        const { body: problem } = await refused(write(body), 422, 'REQUEST_INVALID')
        assert.ok(
          problem.errors.some((error: { field: string }) => error.field === field),
          JSON.stringify(problem),
        )
      }
    })

    test('a device that does not answer: 504 and WRITE_OUTCOME_UNKNOWN, then 503 with Retry-After, and a warning', async () => {
      const { port } = silent.address() as AddressInfo
      const device = { ...meter(), device_id: 'silent', port, timeout_ms: 1_000, max_retries: 0 }
      await ok(rest.send('POST', '/api/admin/devices', device), 201)
      await refused(write({ address: 1, value: 1 }, 'silent'), 504, 'WRITE_OUTCOME_UNKNOWN')
      await refused(read('address=1', 'silent'), 504, 'DEVICE_TIMEOUT')
      for (let failures = 2; failures < 5; failures += 1) await read('address=1', 'silent')
      const open = await refused(read('address=1', 'silent'), 503, 'BREAKER_OPEN')
      const wait = Number(open.headers.get('retry-after'))
      assert.ok(wait > 0 && wait <= 30, String(wait))
      const health = await ok(rest.get('/health'))
      assert.deepEqual([health.status, health.services.modbus], ['ok', 'warning'], 'a device that is off is a warning')
      assert.match(JSON.stringify(health.details), /silent/)
      await ok(rest.send('DELETE', '/api/admin/devices/silent'), 204)
      assert.equal((await ok(rest.get('/health'))).services.modbus, 'ok', 'one that is switched off is none')
    })

    test('PUT, DELETE and activate of a device apply at once; DELETE is soft', async () => {
      const changed = await ok(rest.send('PUT', '/api/admin/devices/meter-1', { timeout: 3 }))
      assert.deepEqual([changed.timeout, changed.slave_id, changed.framer], [3, 1, 'SOCKET'])
      assert.ok(changed.updated_at > changed.created_at)
      await refused(rest.send('PUT', '/api/admin/devices/meter-1', { timeout: 'x' }), 422, 'REQUEST_INVALID')
      await refused(rest.send('PUT', '/api/admin/devices/nobody', { timeout: 3 }), 404, 'DEVICE_UNKNOWN')
      await ok(rest.send('PUT', '/api/admin/devices/meter-1', { slave_id: 2 }))
      assert.deepEqual((await ok(read('address=0'))).values, [5], 'the next read goes to the other unit')
      await ok(rest.send('PUT', '/api/admin/devices/meter-1', { slave_id: 1 }))
      await ok(rest.send('DELETE', '/api/admin/devices/meter-1'), 204)
      assert.ok((await ids('/api/admin/devices')).includes('meter-1'))
      assert.ok(!(await ids('/api/admin/devices/active')).includes('meter-1'))
      assert.ok(!(await ids('/api/devices')).includes('meter-1'))
      assert.equal((await ok(rest.get('/api/admin/devices/meter-1'))).is_active, false)
      await refused(read('address=0'), 409, 'DEVICE_INACTIVE')
      const on = await ok(rest.send('POST', '/api/admin/devices/meter-1/activate'))
      assert.deepEqual([on.device_id, on.is_active], ['meter-1', true])
      assert.deepEqual((await ok(read('address=4'))).values, [40])
      await refused(rest.send('DELETE', '/api/admin/devices/nobody'), 404, 'DEVICE_UNKNOWN')
      await refused(rest.send('POST', '/api/admin/devices/nobody/activate'), 404, 'DEVICE_UNKNOWN')
    })

    test('an edit made directly in the database shows within 5 s; reload shows it at once', async () => {
      await database.run("UPDATE routemq_devices SET slave_id = 3, timeout = 4 WHERE device_id = 'meter-1'")
      const body = await ok(rest.send('POST', '/api/admin/devices/reload'))
      assert.deepEqual([body.status, body.devices.toSorted()], ['ok', ['meter-1', 'shipped']])
      assert.equal(typeof body.message, 'string')
      assert.deepEqual((await ok(read('address=0'))).values, [5])
      await database.run("UPDATE routemq_devices SET slave_id = 1 WHERE device_id = 'meter-1'")
      const edited = performance.now()
      await eventually(async () => (await ok(rest.get('/api/admin/devices/meter-1'))).slave_id === 1)
      assert.ok(performance.now() - edited < EDIT_SHOWS_MS)
      assert.deepEqual((await ok(read('address=3'))).values, [30])
      await database.run(
        "INSERT INTO routemq_devices (device_id, host, port, slave_id, framer) VALUES ('by-hand', '127.0.0.1', " +
          `${plant.port}, 3, 'SOCKET')`,
      )
      await eventually(async () => (await ids('/api/devices')).includes('by-hand'))
      assert.deepEqual((await ok(read('address=0', 'by-hand'))).values, [5])
      await database.run("DELETE FROM routemq_devices WHERE device_id = 'by-hand'")
      await eventually(async () => !(await ids('/api/admin/devices')).includes('by-hand'))
    })

    test('polling targets: create, list, change, soft delete, activate', async () => {
      const made = await ok(
        rest.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 0, count: 4 }),
        201,
      )
      const { id, created_at, updated_at, ...record } = made
      assert.match(created_at, ISO)
      assert.match(updated_at, ISO)
      const { options: _, bus_load_percent: load, warning, ...shown } = record
      // On a machine with much else to do the bus may seem too slow.
      assert.ok(load > 0 && (warning === null || typeof warning === 'string'), `${load} % ${warning}`)
      assert.deepEqual(shown, {
        device_id: 'meter-1',
        register_type: 'holding',
        address: 0,
        count: 4,
        description: null,
        is_active: true,
        interval_ms: null,
        publish: 'always',
      })
      const single = await ok(
        rest.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 1, description: 'one' }),
        201,
      )
      assert.deepEqual([single.count, single.description], [1, 'one'])
      await refused(rest.send('POST', '/api/admin/polling', { device_id: 'nobody', address: 0 }), 404, 'DEVICE_UNKNOWN')
      await refused(rest.send('POST', '/api/admin/polling', { device_id: 'meter-1' }), 422, 'REQUEST_INVALID')
      await refused(
        rest.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 0, count: 126 }),
        422,
        'TARGET_INVALID',
      )
      await refused(
        rest.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 0, description: 'x'.repeat(201) }),
        422,
        'REQUEST_INVALID',
      )
      const wide = { device_id: 'meter-1', register_type: 'coil', address: 0, count: 2_000, interval_ms: 60_000 }
      assert.equal((await ok(rest.send('POST', '/api/admin/polling', wide), 201)).count, 2_000)
      const listed = async (path: string) => (await ok(rest.get(path))).map((row: { id: number }) => row.id)
      assert.equal((await listed('/api/admin/polling')).length, 4)
      assert.equal((await listed('/api/admin/polling/device/meter-1')).length, 3)
      assert.equal((await ok(rest.get(`/api/admin/polling/${id}`))).count, 4)
      // Not less: on a machine with much else to do the bus would seem too slow for it.
      const changed = await ok(rest.send('PUT', `/api/admin/polling/${id}`, { interval_ms: 1_000 }))
      assert.deepEqual([changed.interval_ms, changed.count], [1_000, 4])
      await ok(rest.send('DELETE', `/api/admin/polling/${id}`), 204)
      assert.ok((await listed('/api/admin/polling')).includes(id))
      assert.ok(!(await listed('/api/admin/polling/active')).includes(id))
      assert.equal((await ok(rest.send('POST', `/api/admin/polling/${id}/activate`))).is_active, true)
      for (const [method, path] of [
        ['GET', '99999'],
        ['DELETE', '99999'],
        ['POST', '99999/activate'],
      ] as const) {
        await refused(rest.send(method, `/api/admin/polling/${path}`), 404, 'TARGET_UNKNOWN')
      }
      await refused(rest.send('PUT', '/api/admin/polling/99999', { count: 2 }), 404, 'TARGET_UNKNOWN')
      await database.run(`UPDATE routemq_targets SET count = 6 WHERE id = ${id}`)
      await eventually(async () => (await ok(rest.get(`/api/admin/polling/${id}`))).count === 6)
      plant.set(1, 'holding', 5, 777)
      await eventually(async () => (await ok(read('address=5&source=cache'))).values[0] === 777)
    })

    test('GET and DELETE /api/admin/cache, /stats, /device/{id}', async () => {
      await ok(read('address=100&count=2'))
      const entries = await ok(rest.get('/api/admin/cache'))
      const entry = entries.find(({ key }: { key: string }) => key === 'meter-1:holding:100:2')
      const { cached_at, age_seconds, ...rest_ } = entry
      assert.match(cached_at, ISO)
      assert.ok(age_seconds >= 0 && age_seconds < 60)
      assert.deepEqual(rest_, {
        key: 'meter-1:holding:100:2',
        device_id: 'meter-1',
        register_type: 'holding',
        address: 100,
        count: 2,
        values: [0, 0],
      })
      const stats = await ok(rest.get('/api/admin/cache/stats'))
      assert.equal(stats.total_entries, stats.cache_keys.length)
      assert.ok(stats.devices.includes('meter-1') && stats.cache_keys.includes('meter-1:holding:100:2'))
      assert.ok(stats.oldest_entry <= stats.newest_entry)
      const own = await ok(rest.get('/api/admin/cache/device/meter-1'))
      assert.ok(own.every(({ device_id }: { device_id: string }) => device_id === 'meter-1') && own.length > 0)
      const cleared = await ok(rest.send('DELETE', '/api/admin/cache'))
      assert.deepEqual([cleared.status, typeof cleared.message], ['ok', 'string'])
      const keys = (await ok(rest.get('/api/admin/cache'))).map(({ key }: { key: string }) => key)
      assert.ok(!keys.includes('meter-1:holding:100:2'))
    })

    test('GET /api/metrics and POST /api/metrics/reset', async () => {
      await ok(read('address=100'))
      await ok(read('address=100&source=cache'))
      await eventually(async () => (await ok(rest.get('/api/metrics'))).polling.total_cycles > 0)
      const body = await ok(rest.get('/api/metrics'))
      assert.deepEqual(Object.keys(body).sort(), ['cache', 'modbus', 'polling'])
      for (const [group, names] of Object.entries(METRICS))
        for (const name of names) assert.ok(name in body[group], `${group}.${name}`)
      assert.match(body.polling.last_cycle_time, ISO)
      assert.ok(body.modbus.total_requests > 0 && body.cache.hits > 0 && body.modbus.errors_by_type !== null)
      assert.equal((await ok(rest.send('POST', '/api/metrics/reset'))).status, 'ok')
      const anew = await ok(rest.get('/api/metrics'))
      assert.ok(anew.modbus.total_requests < body.modbus.total_requests)
      assert.equal(anew.cache.hits, 0)
    })

    test('every change and every write is in the audit, with who asked', async () => {
      const { items } = await ok(rest.get('/api/audit?limit=1000'))
      const actions = new Set(items.map(({ action }: { action: string }) => action))
      for (const action of [
        'device.create',
        'device.update',
        'device.remove',
        'device.activate',
        'device.reload',
        'target.create',
        'target.update',
        'target.remove',
        'target.activate',
        'cache.clear',
        'metrics.reset',
      ])
        assert.ok(actions.has(action), `${action} in ${[...actions]}`)
      for (const { actor, timestamp } of items) {
        assert.deepEqual([actor.kind, /127\.0\.0\.1/.test(actor.name)], ['http', true], JSON.stringify(actor))
        assert.match(timestamp, ISO)
      }
      assert.ok(items.some((row: { device_id: string; code?: string }) => row.code === 'WRITE_OUTCOME_UNKNOWN'))
    })

    test('with a key in the table: 401 without, 403 beyond its scope, 200 within', async () => {
      const made = await ok(rest.send('POST', '/api/admin/keys', { name: 'scada', scope: 'read' }), 201)
      const bare = await refused(rest.get('/api/devices'), 401, 'UNAUTHENTICATED')
      assert.match(bare.headers.get('www-authenticate') ?? '', /^Bearer/)
      const url = product.run.http!.url
      await refused(new RestClient(url, { 'x-api-key': 'wrong' }).get('/api/devices'), 401, 'UNAUTHENTICATED')
      const reader = new RestClient(url, { 'x-api-key': made.key })
      await ok(reader.get('/api/devices'))
      await refused(reader.send('DELETE', '/api/admin/devices/meter-1'), 403, 'FORBIDDEN')
      await refused(
        reader.send('POST', '/api/devices/meter-1/registers/write', { address: 1, value: 1 }),
        403,
        'FORBIDDEN',
      )
      assert.ok(!product.text.includes(made.key), 'not in the log')
      const revoked = await product.fetch(`/api/admin/keys/${made.prefix}`, { method: 'DELETE' })
      assert.equal(revoked.status, 204)
      await ok(rest.get('/api/devices'))
    })
  })
}

async function eventually(look: () => Promise<boolean>): Promise<void> {
  for (const startedAt = performance.now(); performance.now() - startedAt < EDIT_SHOWS_MS; await pause(50)) {
    if (await look()) return
  }
  assert.fail(`not within ${EDIT_SHOWS_MS} ms: ${look}`)
}
