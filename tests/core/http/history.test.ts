import assert from 'node:assert/strict'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { test } from 'node:test'
import { RouteMQError } from '../../../core/support/errors.js'
import { fullPlant } from './full-plant.js'
import { start } from './started.js'

test('readings come a page at a time, filters as asked for', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  const first = await sidecar.get(
    '/api/readings?device_id=meter-1&from=2026-01-01T00:00:00Z&to=2026-01-02T00:00:00%2B01:00&min=1&max=-2.5e3&limit=1000',
  )
  assert.equal(first.status, 200)
  assert.equal(first.body.items.length, 1000)
  assert.deepEqual(services.queries[0], {
    device_id: 'meter-1',
    from: '2026-01-01T00:00:00Z',
    to: '2026-01-02T00:00:00+01:00',
    min: 1,
    max: -2500,
    limit: 1000,
  })
  const last = await sidecar.get('/api/readings?limit=1000&cursor=2000')
  assert.deepEqual([last.body.items.length, last.body.next], [500, null])
  for (const query of [
    'limit=1001',
    'limit=0',
    'from=yesterday',
    'to=2026-01-01',
    'min=NaN',
    'min=0x1',
    'device_id=a/b',
    'cursor=',
    'register_type=input',
  ]) {
    assert.equal((await sidecar.get(`/api/readings?${query}`)).status, 422, query)
  }
})

test('a time without its zone, and a range that runs backwards, are refused by what is wrong with them', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  const errors = async (path: string) => (await sidecar.get(path)).body.errors
  const zone = { field: 'from', message: 'has no zone: end it with Z, or such as +01:00 (%2B01:00 in a URL)' }
  const written = [
    '2026-01-01',
    '2026-01-01T00:00',
    '2026-01-01T00:00:00',
    '2026-01-01T00:00:00.5',
    '2026-01-01T00:00:00+01:00',
  ]
  for (const from of written) assert.deepEqual(await errors(`/api/readings?from=${from}`), [zone], from)
  assert.notDeepEqual(await errors('/api/readings?from=yesterday'), [zone])
  const backwards = 'from=2026-01-02T00:00:00Z&to=2026-01-01T23:59:59Z'
  const buckets = '/api/readings/buckets?device_id=meter-1&point=level&bucket=1h&'
  for (const path of ['/api/readings?', '/api/readings.csv?', buckets, '/api/events?', '/api/audit?']) {
    assert.deepEqual(await errors(path + backwards), [{ field: 'from', message: 'must not be after to' }], path)
  }
  assert.deepEqual(services.queries, [])
  assert.equal((await sidecar.get('/api/events?from=2026-01-02T00:00:00Z&to=2026-01-02T01:00:00%2B01:00')).status, 200)
})

test('a value is asked for as it is shown, and a quality by its name', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  const asked = ['12.5', '-1e3', 'true', 'false', 'open', '"12"', '"true"', '9007199254740993', '0x1']
  for (const value of asked) {
    const { status } = await sidecar.get(`/api/readings?limit=1&quality=bad&value=${encodeURIComponent(value)}`)
    assert.equal(status, 200, value)
  }
  assert.deepEqual(
    services.queries,
    [12.5, -1_000, true, false, 'open', '12', 'true', '9007199254740993', '0x1'].map((value) => ({
      value,
      quality: 'bad',
      limit: 1,
    })),
  )
  for (const query of ['quality=fine', 'value=']) {
    assert.equal((await sidecar.get(`/api/readings?${query}`)).status, 422, query)
  }
})

test('a parameter that is not known is refused by its name: what it was to leave out would be answered', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  for (const path of ['/api/readings?', '/api/readings.csv?', `${BUCKETS}&bucket=1h&`, '/api/events?', '/api/audit?']) {
    const { status, body } = await sidecar.get(`${path}frm=2026-01-01T00:00:00Z`)
    assert.deepEqual(
      [status, body.code, body.errors],
      [422, 'REQUEST_INVALID', [{ field: 'frm', message: 'is not a known field' }]],
    )
  }
  assert.deepEqual(services.queries, [])
})

test('a NUL, which no database takes, is refused wherever a text becomes part of a statement', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  for (const path of [
    '/api/readings?point=%00',
    '/api/readings?cursor=%00',
    '/api/readings.csv?point=a%00',
    '/api/events?kind=%00',
    '/api/admin/dead?route=%00',
    '/api/admin/dead/%00',
  ]) {
    assert.equal((await sidecar.get(path)).status, 422, path)
  }
  assert.deepEqual(services.queries, [])
  const key = await sidecar.send('POST', '/api/admin/keys', { name: 'a\u0000', scope: 'read' })
  const target = { device_id: 'meter-1', address: 1, description: 'a\u0000' }
  const polling = await sidecar.send('POST', '/api/admin/polling', target)
  assert.deepEqual([key.status, polling.status], [422, 422])
})

const ISO = '2026-01-01T00:00:00.000Z'
const BUCKETS = '/api/readings/buckets?device_id=meter-1&point=level&from=2026-01-01T00:00:00Z'

test('buckets take a width or a day in a time zone', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  const to = '2026-01-02T00:00:00%2b01:00'
  assert.equal((await sidecar.get(`${BUCKETS}&bucket=15m`)).body[0].avg, 1.5)
  await sidecar.get(`${BUCKETS}&to=${to}&bucket=day&tz=Europe/Berlin`)
  const asked = { device_id: 'meter-1', point: 'level', from: '2026-01-01T00:00:00Z' }
  assert.deepEqual(services.queries, [
    { ...asked, bucket: 900_000, tz: 'UTC' },
    { ...asked, to: '2026-01-02T00:00:00+01:00', bucket: 'day', tz: 'Europe/Berlin' },
  ])
  for (const query of ['', 'bucket=0m', 'bucket=1d', 'bucket=day&tz=Mars/Olympus', 'bucket=-1h']) {
    assert.equal((await sidecar.get(`${BUCKETS}&${query}`)).status, 422, query)
  }
  const { body } = await sidecar.get('/api/readings/buckets?bucket=15m')
  assert.deepEqual(
    body.errors.map(({ field }: { field: string }) => field),
    ['device_id', 'point', 'from'],
  )
})

test('CSV is all pages as one stream, and nothing in it is a formula', async (context) => {
  const services = fullPlant()
  const sidecar = await start(context, { services })
  const { status, headers, text } = await sidecar.get('/api/readings.csv')
  assert.deepEqual([status, headers['content-type']], [200, 'text/csv; charset=utf-8'])
  const lines = text.trimEnd().split('\n')
  assert.equal(lines.length, 2_501)
  assert.equal(lines[0], 'timestamp,device_id,point,value,quality')
  assert.equal(lines[1], "2023-11-14T22:13:20.000Z,'=cmd,level,0,good")
  assert.equal(lines[2], '2023-11-14T22:13:19.999Z,meter-1,level,-5,good')
  assert.equal(lines[3], '2023-11-14T22:13:19.998Z,meter-1,level,9007199254740993,good')
  assert.equal(lines[4], '2023-11-14T22:13:19.997Z,meter-1,level,-9007199254740993,good')
  assert.equal(lines[5], "2023-11-14T22:13:19.996Z,meter-1,level,'-1+cmd,good")
  assert.deepEqual(
    services.queries.map((query) => ('cursor' in query ? query.cursor : undefined)),
    [undefined, '1000', '2000'],
  )
})

test('a CSV whose reader went away asks the database for no further page', async (context) => {
  let asked = 0
  let give = () => {}
  const mayGive = new Promise<void>((resolve) => {
    give = resolve
  })
  const page = async () => {
    asked += 1
    if (asked > 1) await mayGive
    const reading = { device_id: 'meter-1', point: 'level', value: asked, quality: 'good', timestamp: ISO }
    return { items: [reading], next: String(asked) }
  }
  const sidecar = await start(context, { services: fullPlant({ readings: { page } }) })
  const request = get(`${sidecar.url}/api/readings.csv`)
  const [response] = (await once(request, 'response')) as [IncomingMessage]
  const [text] = await once(response, 'data')
  assert.match(String(text), /^timestamp,.*\n.*,meter-1,level,1,good\n$/)
  response.on('error', () => {})
  request.destroy()
  // Later connections that are answered and closed: by then the sidecar has seen that the first is gone.
  for (let count = 0; count < 5; count += 1) await sidecar.get('/live')
  assert.equal(asked, 2)
  give()
  for (let count = 0; count < 5; count += 1) await sidecar.get('/live')
  assert.equal(asked, 2)
})

for (const path of ['/api/events', '/api/audit', '/api/readings']) {
  test(`who leaves before ${path} answers is told to the database`, async (context) => {
    let asked = (_: AbortSignal) => {}
    const asking = new Promise<AbortSignal>((resolve) => {
      asked = resolve
    })
    const never = (_: unknown, signal?: AbortSignal) => {
      asked(signal ?? AbortSignal.abort())
      return new Promise<never>((_, reject) => signal?.addEventListener('abort', () => reject(signal.reason)))
    }
    const services = fullPlant({ readings: { page: never }, events: never, audit: never })
    const sidecar = await start(context, { services })
    const request = get(`${sidecar.url}${path}`).on('error', () => {})
    const signal = await asking
    assert.equal(signal.aborted, false)
    const aborted = once(signal, 'abort')
    request.destroy()
    await aborted
  })
}

test('a database that is away is a problem document, also where a stream was wanted', async (context) => {
  const away = () => Promise.reject(new RouteMQError('DATABASE_UNAVAILABLE', 'the database is away'))
  const sidecar = await start(context, { services: fullPlant({ readings: { page: away } }) })
  for (const path of ['/api/readings', '/api/readings.csv']) {
    const { status, headers, body } = await sidecar.get(path)
    assert.deepEqual([status, body.code, headers['retry-after']], [503, 'DATABASE_UNAVAILABLE', '1'], path)
  }
  assert.equal((await sidecar.get(`${BUCKETS}&bucket=1h`)).body.code, 'NOT_AVAILABLE')
})

test('events and audit are pages, dead letters and workers are steered', async (context) => {
  const sidecar = await start(context, { services: fullPlant() })
  assert.equal((await sidecar.get('/api/events?kind=device')).body.items[0].kind, 'device')
  assert.equal((await sidecar.get('/api/audit?device_id=meter-1')).body.items[0].actor.name, 'key:abc')
  assert.equal((await sidecar.get('/api/admin/routes')).body[0].filter, 'devices/+')
  assert.equal((await sidecar.get('/api/admin/dead?limit=5')).body[0].payload, undefined)
  assert.equal((await sidecar.get('/api/admin/dead/dead-1')).body.payload, 'e30=')
  const retry = (body?: unknown) => sidecar.send('POST', '/api/admin/dead/dead-1/retry', body)
  assert.deepEqual(
    [(await retry()).status, (await retry({})).status, (await retry({ force: true })).status],
    [410, 410, 200],
  )
  assert.equal((await sidecar.send('DELETE', '/api/admin/dead/other')).body.code, 'DEAD_LETTER_UNKNOWN')
  assert.equal((await sidecar.send('DELETE', '/api/admin/dead/dead-1')).status, 204)
  assert.equal((await sidecar.get('/api/admin/workers')).body[0].pid, 42)
  assert.equal((await sidecar.send('POST', '/api/admin/workers/restart')).status, 200)
  assert.equal((await sidecar.send('POST', '/api/admin/workers/restart', { name: 'x' })).body.code, 'WORKER_UNKNOWN')
  assert.equal((await sidecar.send('POST', '/api/admin/workers/scale', { slots: 4 })).status, 200)
  assert.equal((await sidecar.send('POST', '/api/admin/workers/scale', { slots: 0 })).status, 422)
})
