import assert from 'node:assert/strict'
import { test } from 'node:test'
import { livePlant } from './live-plant.js'
import { type Started, start } from './started.js'

const ISO = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

async function refused(
  answer: Promise<{ status: number; headers: Record<string, unknown>; body: Record<string, unknown> }>,
  status: number,
  code: string,
) {
  const { status: got, headers, body } = await answer
  assert.deepEqual([got, body.code], [status, code], JSON.stringify(body))
  assert.equal(headers['content-type'], 'application/problem+json')
  assert.equal(body.status, status)
  for (const member of ['type', 'title', 'detail', 'instance', 'request_id', 'advice'])
    assert.equal(typeof body[member], 'string', member)
  return { body, headers }
}

test('health says everything in words, and a device that is off is a warning', async (context) => {
  const sidecar = await start(context)
  const { status, body } = await sidecar.get('/health')
  assert.equal(status, 200)
  assert.match(body.timestamp, ISO)
  assert.deepEqual(
    { ...body, timestamp: '' },
    {
      status: 'ok',
      mode: 'demo',
      timestamp: '',
      version: '0.1.0',
      uptime: 1.5,
      services: { database: 'ok', mqtt: 'ok', modbus: 'warning', poller: 'ok', workers: 'ok' },
      details: { modbus: 'meter-2 is off' },
    },
  )
})

test('devices and gateways are listed as they are', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  await sidecar.get('/api/devices/meter-1/registers?address=0')
  const { body } = await sidecar.get('/api/devices')
  const gateway = `127.0.0.1:${device.port}`
  assert.deepEqual(body[0], {
    device_id: 'meter-1',
    host: '127.0.0.1',
    port: device.port,
    slave_id: 1,
    timeout: 10,
    gateway,
  })
  assert.deepEqual(
    body.map((row: { device_id: string }) => row.device_id),
    ['meter-1', 'meter-2', 'silent'],
  )
  const buses = await sidecar.get('/api/devices/gateways')
  assert.equal(buses.body.length, 1)
  assert.deepEqual([buses.body[0].host, buses.body[0].port, buses.body[0].connected], ['127.0.0.1', device.port, true])
  assert.equal((await sidecar.get('/api/admin/buses')).body[0].devices.length, 3)
})

test('registers are read live by default and from the cache on request, with a live fallback', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  const read = (query: string) => sidecar.get(`/api/devices/meter-1/registers?${query}`)
  assert.deepEqual((await read('address=3')).body, {
    device_id: 'meter-1',
    register_type: 'holding',
    address: 3,
    count: 1,
    values: [30],
    source: 'live',
    quality: 'good',
  })
  const missed = await read('address=10&count=5&source=cache')
  assert.equal(missed.body.source, 'live')
  device.set(1, 'holding', 12, 999)
  const inside = await read('address=11&count=2&source=cache')
  assert.deepEqual([inside.body.source, inside.body.values], ['cache', [110, 120]])
  assert.match(inside.body.cached_at, ISO)
  assert.deepEqual((await read('address=12')).body.values, [999])
  assert.deepEqual((await read('address=0&count=3&register_type=coil')).body.values, [false, false, false])
  assert.equal((await read('address=0&count=2000&register_type=discrete')).body.values.length, 2000)
})

test('writes are answered after the device confirmed, and the next read sees them', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  const write = (body: unknown) => sidecar.send('POST', '/api/devices/meter-1/registers/write', body)
  await sidecar.get('/api/devices/meter-1/registers?address=0&count=20')
  const one = await write({ address: 10, value: 42 })
  assert.equal(one.status, 200)
  assert.deepEqual(one.body, { device_id: 'meter-1', status: 'ok', address: 10, value: 42, register_type: 'holding' })
  assert.equal(device.get(1, 'holding', 10), 42)
  const cached = await sidecar.get('/api/devices/meter-1/registers?address=10&source=cache')
  assert.deepEqual([cached.body.values, cached.body.source], [[42], 'live'])
  const several = await write({ address: 20, values: [1, 2, 3] })
  assert.deepEqual(several.body, {
    device_id: 'meter-1',
    status: 'ok',
    address: 20,
    values: [1, 2, 3],
    register_type: 'holding',
  })
  const coil = await write({ address: 5, value: true, register_type: 'coil' })
  assert.deepEqual(coil.body, { device_id: 'meter-1', status: 'ok', address: 5, value: true, register_type: 'coil' })
  assert.equal(device.get(1, 'coil', 5), 1)
  const point = await write({ point: 'level', value: 77 })
  assert.deepEqual(point.body, { device_id: 'meter-1', status: 'ok', point: 'level', value: 77 })
  assert.equal(device.get(1, 'holding', 10), 77)
  const rounded = await write({ point: 'level', value: 76.6 })
  assert.deepEqual(rounded.body, { device_id: 'meter-1', status: 'ok', point: 'level', value: 76.6, written: 77 })
  assert.equal(device.get(1, 'holding', 10), 77)
  const points = await sidecar.get('/api/devices/meter-1/points')
  assert.deepEqual(
    points.body.points.map(({ timestamp, ...rest }: { timestamp: string }) => rest),
    [{ point: 'level', value: 77, unit: '%', quality: 'good' }],
  )
})

test('points are asked for by name, also by one with a comma in it', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  await sidecar.send('POST', '/api/admin/points', { device_id: 'meter-1', name: 'L1, L2', address: 11 })
  device.set(1, 'holding', 11, 5)
  const values = async (query: string) => {
    const { body } = await sidecar.get(`/api/devices/meter-1/points?${query}`)
    return body.points?.map(({ point, value }: { point: string; value: number }) => [point, value]) ?? body.code
  }
  assert.deepEqual(await values('point=L1%2C%20L2'), [['L1, L2', 5]])
  assert.deepEqual(await values('point=level&point=L1%2C%20L2'), [
    ['level', device.get(1, 'holding', 10)],
    ['L1, L2', 5],
  ])
  assert.equal(await values('points=L1,%20L2'), 'POINT_UNKNOWN')
})

test('a target that is made or changed reports what polling takes of its bus, and is taken as it was shown', async (context) => {
  const { services } = await livePlant(context)
  const busLoad = () => ({ percent: 85.5, warning: 'Polling takes 86 % of the time of bus b' })
  const sidecar = await start(context, { services: { ...services, busLoad } })
  const made = await sidecar.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 3 })
  assert.deepEqual([made.status, made.body.bus_load_percent, made.body.warning], [201, 85.5, busLoad().warning])
  const path = `/api/admin/polling/${made.body.id}`
  const changed = await sidecar.send('PUT', path, { ...made.body, interval_ms: 500 })
  assert.deepEqual([changed.status, changed.body.interval_ms, changed.body.bus_load_percent], [200, 500, 85.5])
  const off = await sidecar.send('PUT', path, { is_active: false })
  assert.deepEqual([off.body.bus_load_percent, off.body.warning], [null, null])
  assert.equal((await sidecar.send('POST', `${path}/activate`)).body.bus_load_percent, 85.5)
  assert.equal('warning' in (await sidecar.get(path)).body, false)
})

test('a write that the device accepted and has not finished is 202', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  device.faults.set(1, { kind: 'exception', code: 5, functions: [6, 16] })
  const { status, body } = await sidecar.send('POST', '/api/devices/meter-1/registers/write', { address: 1, value: 2 })
  assert.deepEqual([status, body.status, body.address], [202, 'accepted', 1])
})

test('each way to fail has its status and its code', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  const read = (id: string, query: string) => sidecar.get(`/api/devices/${id}/registers?${query}`)
  const write = (body: unknown, id = 'meter-1') => sidecar.send('POST', `/api/devices/${id}/registers/write`, body)

  await refused(read('nobody', 'address=1'), 404, 'DEVICE_UNKNOWN')
  await refused(read('meter-1', 'address=200'), 502, 'MODBUS_ILLEGAL_ADDRESS')
  await refused(read('meter-1', 'address=0&count=126'), 422, 'ADDRESS_INVALID')
  for (const query of [
    '',
    'address=',
    'address=abc',
    'address=-1',
    'address=65536',
    'address=1.5',
    'address=0x10',
    'address=1&count=0',
    'address=1&register_type=Holding',
    'address=1&source=magic',
    'address=1&address=2',
  ]) {
    const { body } = await refused(read('meter-1', query), 422, 'REQUEST_INVALID')
    assert.ok((body.errors as unknown[]).length > 0, query)
  }
  for (const [body, field] of [
    [{}, 'address'],
    [{ address: 1 }, 'value'],
    [{ address: 'x', value: 1 }, 'address'],
    [{ address: 1, value: 'on' }, 'value'],
    [{ address: 1, value: 1, values: [1] }, 'values'],
    [{ address: 1, value: 1, adress: 2 }, 'adress'],
    [{ address: 1, values: [] }, 'values'],
    [{ address: 1, value: 1, register_type: 'input' }, 'register_type'],
    [{ point: 'level' }, 'value'],
    [[], 'body'],
    ['"text"', 'body'],
    ['null', 'body'],
  ] as const) {
    const { body: problem } = await refused(write(body), 422, 'REQUEST_INVALID')
    assert.ok(
      (problem.errors as { field: string }[]).some((error) => error.field === field),
      `${JSON.stringify(body)}: ${JSON.stringify(problem.errors)}`,
    )
  }
  for (const body of ['{"address": 1, ', '{', '', '\u0000']) await refused(write(body), 400, 'PAYLOAD_MALFORMED')
  await refused(write({ address: 1, value: 70_000 }), 422, 'VALUE_OUT_OF_RANGE')
  await refused(write({ address: 0, value: 1 }, 'meter-2'), 403, 'WRITE_DISABLED')
  await refused(write({ point: 'nothing', value: 1 }), 404, 'POINT_UNKNOWN')
  await refused(write({ point: 'level', value: 501 }), 422, 'VALUE_OUT_OF_RANGE')
  await refused(write({ address: 55, value: 1 }), 502, 'MODBUS_ILLEGAL_ADDRESS')
  await refused(write({ address: 1, value: 1 }, 'silent'), 504, 'WRITE_OUTCOME_UNKNOWN')

  device.faults.set(1, { kind: 'exception', code: 6 })
  const busy = await refused(read('meter-1', 'address=1'), 503, 'DEVICE_BUSY')
  assert.match(String(busy.headers['retry-after']), /^[1-9]\d*$/)
  device.faults.clear(1)

  await refused(read('silent', 'address=1'), 504, 'DEVICE_TIMEOUT')
  for (let failures = 0; failures < 5; failures += 1) await read('silent', 'address=1')
  const open = await refused(read('silent', 'address=1'), 503, 'BREAKER_OPEN')
  const wait = Number(open.headers['retry-after'])
  assert.ok(wait > 20 && wait <= 30, String(wait))
})

test('a last known value is shown as stale to those who allow it, while the device is away', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  await sidecar.get('/api/devices/meter-1/registers?address=4')
  device.faults.set(1, { kind: 'silence' })
  assert.equal((await sidecar.get('/api/devices/meter-1/registers?address=4')).status, 504)
  const stale = await sidecar.get('/api/devices/meter-1/registers?address=4&allow_stale=true')
  assert.deepEqual([stale.status, stale.body.quality, stale.body.values], [200, 'stale', [40]])
})

test('device records: create, read, update, switch off and on, reload', async (context) => {
  const { services, device } = await livePlant(context)
  const sidecar = await start(context, { services })
  const fresh = { device_id: 'line 3', host: '127.0.0.1', port: device.port, slave_id: 1, framer: 'socket' }
  const created = await sidecar.send('POST', '/api/admin/devices', fresh)
  assert.equal(created.status, 201)
  assert.deepEqual(
    [
      created.body.framer,
      created.body.timeout,
      created.body.max_retries,
      created.body.retry_delay,
      created.body.is_active,
    ],
    ['SOCKET', 10, 5, 0.1, true],
  )
  assert.match(created.body.created_at, ISO)
  assert.equal((await sidecar.get('/api/devices/line%203/registers?address=3')).body.values[0], 30)
  await refused(sidecar.send('POST', '/api/admin/devices', fresh), 409, 'DEVICE_EXISTS')
  for (const bad of ['a/b', 'a+b', 'a#', 'a\nb', '', 'x'.repeat(51)]) {
    const { body } = await refused(
      sidecar.send('POST', '/api/admin/devices', { ...fresh, device_id: bad }),
      422,
      'REQUEST_INVALID',
    )
    assert.equal((body.errors as { field: string }[])[0]?.field, 'device_id')
  }
  for (const [field, value] of Object.entries({
    port: 0,
    slave_id: 248,
    timeout: 0.5,
    framer: 'TLS',
    max_retries: 11,
    retry_delay: 11,
    unit_id: 256,
    timeout_ms: 5,
    host: 'h'.repeat(101),
  })) {
    const { body } = await refused(
      sidecar.send('POST', '/api/admin/devices', { ...fresh, device_id: 'z', [field]: value }),
      422,
      'REQUEST_INVALID',
    )
    assert.equal((body.errors as { field: string }[])[0]?.field, field)
  }
  await refused(sidecar.send('POST', '/api/admin/devices', { device_id: 'z' }), 422, 'DEVICE_INVALID')
  const updated = await sidecar.send('PUT', '/api/admin/devices/line%203', { timeout: 3 })
  assert.deepEqual([updated.status, updated.body.timeout, updated.body.slave_id], [200, 3, 1])
  await refused(sidecar.send('PUT', '/api/admin/devices/line%203', { timeout: 'x' }), 422, 'REQUEST_INVALID')
  await refused(sidecar.send('PUT', '/api/admin/devices/nobody', { timeout: 3 }), 404, 'DEVICE_UNKNOWN')
  const gone = await sidecar.send('DELETE', '/api/admin/devices/line%203')
  assert.deepEqual([gone.status, gone.text], [204, ''])
  const ids = async (path: string) => (await sidecar.get(path)).body.map((row: { device_id: string }) => row.device_id)
  assert.ok((await ids('/api/admin/devices')).includes('line 3'))
  assert.ok(!(await ids('/api/admin/devices/active')).includes('line 3'))
  assert.ok(!(await ids('/api/devices')).includes('line 3'))
  await refused(sidecar.get('/api/devices/line%203/registers?address=3'), 409, 'DEVICE_INACTIVE')
  assert.equal((await sidecar.get('/api/admin/devices/line%203')).body.is_active, false)
  const on = await sidecar.send('POST', '/api/admin/devices/line%203/activate')
  assert.deepEqual([on.status, on.body.is_active], [200, true])
  await refused(sidecar.send('DELETE', '/api/admin/devices/nobody'), 404, 'DEVICE_UNKNOWN')
  await refused(sidecar.send('POST', '/api/admin/devices/nobody/activate'), 404, 'DEVICE_UNKNOWN')
  const reload = await sidecar.send('POST', '/api/admin/devices/reload')
  assert.deepEqual(
    [reload.status, reload.body.status, reload.body.devices],
    [200, 'ok', ['meter-1', 'meter-2', 'silent', 'line 3']],
  )
})

test('the private key of a device is never shown, and survives an update with what was shown', async (context) => {
  const sidecar = await start(context)
  const tls = { ca: 'ca', cert: 'cert', key: 'PRIVATE' }
  const made = await sidecar.send('POST', '/api/admin/devices', {
    device_id: 't',
    host: 'h',
    port: 1,
    transport: 'tls',
    options: { tls },
  })
  assert.equal(made.status, 201)
  assert.ok(!made.text.includes('PRIVATE'))
  for (const path of ['/api/admin/devices', '/api/admin/devices/t', '/api/admin/devices/active']) {
    assert.ok(!(await sidecar.get(path)).text.includes('PRIVATE'), path)
  }
  const { created_at: _, updated_at: __, device_id: ___, ...shown } = made.body
  assert.equal((await sidecar.send('PUT', '/api/admin/devices/t', shown)).status, 200)
})

test('polling targets: create, read, update, switch off and on', async (context) => {
  const sidecar = await start(context)
  const created = await sidecar.send('POST', '/api/admin/polling', {
    device_id: 'meter-1',
    address: 100,
    count: 11,
    interval_ms: 100,
  })
  assert.equal(created.status, 201)
  const { id } = created.body
  assert.deepEqual(
    [created.body.register_type, created.body.publish, created.body.is_active, created.body.description],
    ['holding', 'always', true, null],
  )
  await refused(sidecar.send('POST', '/api/admin/polling', { device_id: 'nobody', address: 1 }), 404, 'DEVICE_UNKNOWN')
  await refused(sidecar.send('POST', '/api/admin/polling', { device_id: 'meter-1' }), 422, 'REQUEST_INVALID')
  await refused(
    sidecar.send('POST', '/api/admin/polling', { device_id: 'meter-1', address: 1, count: 126 }),
    422,
    'TARGET_INVALID',
  )
  assert.equal((await sidecar.get('/api/admin/polling')).body.length, 2)
  assert.equal((await sidecar.get(`/api/admin/polling/${id}`)).body.count, 11)
  assert.equal((await sidecar.get('/api/admin/polling/device/meter-1')).body.length, 2)
  const updated = await sidecar.send('PUT', `/api/admin/polling/${id}`, { count: 12 })
  assert.deepEqual([updated.status, updated.body.count, updated.body.address], [200, 12, 100])
  assert.equal((await sidecar.send('DELETE', `/api/admin/polling/${id}`)).status, 204)
  assert.deepEqual(
    (await sidecar.get('/api/admin/polling/active')).body.map((row: { id: number }) => row.id),
    [1],
  )
  assert.equal((await sidecar.send('POST', `/api/admin/polling/${id}/activate`)).body.is_active, true)
  for (const [method, path] of [
    ['GET', '99'],
    ['PUT', '99'],
    ['DELETE', '99'],
    ['POST', '99/activate'],
  ] as const) {
    await refused(
      sidecar.send(method, `/api/admin/polling/${path}`, method === 'PUT' ? {} : undefined),
      404,
      'TARGET_UNKNOWN',
    )
  }
  await refused(sidecar.get('/api/admin/polling/x'), 422, 'REQUEST_INVALID')
  assert.equal((await sidecar.send('POST', '/api/admin/polling/reload')).body.status, 'ok')
})

test('the cache can be looked at and emptied', async (context) => {
  const { services } = await livePlant(context)
  const sidecar = await start(context, { services })
  const empty = await sidecar.get('/api/admin/cache/stats')
  assert.deepEqual(empty.body, {
    total_entries: 0,
    devices: [],
    oldest_entry: null,
    newest_entry: null,
    cache_keys: [],
  })
  await sidecar.get('/api/devices/meter-1/registers?address=0&count=2')
  await sidecar.get('/api/devices/meter-2/registers?address=0')
  const all = await sidecar.get('/api/admin/cache')
  const entry = all.body.find((row: { device_id: string }) => row.device_id === 'meter-1')
  assert.deepEqual(
    { ...entry, cached_at: '', age_seconds: 0 },
    {
      key: 'meter-1:holding:0:2',
      device_id: 'meter-1',
      register_type: 'holding',
      address: 0,
      count: 2,
      values: [0, 10],
      cached_at: '',
      age_seconds: 0,
    },
  )
  assert.match(entry.cached_at, ISO)
  assert.ok(entry.age_seconds >= 0 && entry.age_seconds < 60)
  const { body: stats } = await sidecar.get('/api/admin/cache/stats')
  assert.deepEqual([stats.total_entries, stats.devices], [2, ['meter-1', 'meter-2']])
  assert.equal((await sidecar.get('/api/admin/cache/device/meter-2')).body.length, 1)
  assert.deepEqual((await sidecar.get('/api/admin/cache/device/nobody')).body, [])
  assert.deepEqual((await sidecar.send('DELETE', '/api/admin/cache')).body, {
    status: 'ok',
    message: 'Cleared 2 cache entries',
  })
  assert.deepEqual((await sidecar.get('/api/admin/cache')).body, [])
})

test('counters count, and start anew on request', async (context) => {
  const { services } = await livePlant(context)
  const sidecar = await start(context, { services })
  await sidecar.get('/api/devices/meter-1/registers?address=0')
  await sidecar.get('/api/devices/meter-1/registers?address=0&source=cache')
  const { body } = await sidecar.get('/api/metrics')
  assert.deepEqual([body.modbus.total_requests, body.modbus.success_rate_percent, body.cache.hits], [1, 100, 1])
  assert.equal((await sidecar.send('POST', '/api/metrics/reset')).body.status, 'ok')
  assert.equal((await sidecar.get('/api/metrics')).body.modbus.total_requests, 0)
})

test('points are added, changed and removed one by one, also all at once', async (context) => {
  const sidecar = await start(context)
  const add = (name: string) =>
    sidecar.send('POST', '/api/admin/points', { device_id: 'meter-1', name, address: 20, type: 'float32' })
  const made = await Promise.all(['a', 'b', 'c', 'd'].map(add))
  assert.deepEqual(
    made.map(({ status }) => status),
    [201, 201, 201, 201],
  )
  assert.equal((await sidecar.get('/api/admin/points?device_id=meter-1')).body.length, 6)
  await refused(add('a'), 409, 'POINT_EXISTS')
  const changed = await sidecar.send('PUT', '/api/admin/points/meter-1/a', { unit: 'bar' })
  assert.deepEqual([changed.body.unit, changed.body.type], ['bar', 'float32'])
  assert.equal((await sidecar.send('DELETE', '/api/admin/points/meter-1/b')).status, 204)
  await refused(sidecar.get('/api/admin/points/meter-1/b'), 404, 'POINT_UNKNOWN')
  assert.equal((await sidecar.get('/api/points')).body.length, 7)
})

test('what this installation does not have answers with a stable code', async (context) => {
  const sidecar = await start(context)
  for (const path of [
    '/api/readings',
    '/api/events',
    '/api/audit',
    '/api/admin/dead',
    '/api/admin/keys',
    '/api/readings.csv',
    '/api/readings/buckets?device_id=meter-1&point=level&from=2026-01-01T00:00:00Z&bucket=1h',
  ]) {
    await refused(sidecar.get(path), 503, 'DATABASE_UNAVAILABLE')
  }
  for (const path of ['/api/admin/workers', '/api/admin/buses', '/api/admin/routes'])
    await refused(sidecar.get(path), 503, 'NOT_AVAILABLE')
})

test('unknown paths are 404 and known ones say which methods they take', async (context) => {
  const sidecar: Started = await start(context)
  await refused(sidecar.get('/api/nothing'), 404, 'ROUTE_NOT_FOUND')
  const { headers } = await refused(sidecar.send('PATCH', '/api/admin/devices/meter-1', {}), 405, 'METHOD_NOT_ALLOWED')
  assert.equal(headers.allow, 'DELETE, GET, HEAD, PUT')
  assert.equal((await sidecar.get('/api/devices/')).status, 200)
})

test('ready and health carry their report also when they say no', async (context) => {
  const { plant } = await import('./fake-services.js')
  const services = plant({
    ready: () => ({ ready: false, checks: { workers: 'slot-2 has not started' } }),
    health: () => ({
      status: 'degraded',
      services: { database: 'ok', mqtt: 'disconnected', modbus: 'ok', poller: 'ok', workers: 'ok' },
      details: { mqtt: 'the broker is away' },
      uptime: 3,
    }),
  })
  const sidecar = await start(context, { services })
  const ready = await sidecar.get('/ready')
  assert.deepEqual(
    [ready.status, ready.body.checks.workers, ready.headers['retry-after']],
    [503, 'slot-2 has not started', '1'],
  )
  const health = await sidecar.get('/health')
  assert.deepEqual([health.status, health.body.status, health.body.services.mqtt], [503, 'degraded', 'disconnected'])
  assert.equal((await sidecar.get('/live')).status, 200)
})
