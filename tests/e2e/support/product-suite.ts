import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import type { BucketView } from '../../../core/http/services/history.js'
import { startDemoPlant } from '../../../core/kernel/demo-plant.js'
import type { VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Commander } from './commander.js'
import { devicesWithFaults } from './devices-with-faults.js'
import { Product, runCommand } from './product.js'
import { makeProject, REPOSITORY } from './project.js'
import { missingServers, SERVICES_REQUIRED, type ServiceSet } from './services.js'

/** The end-to-end behaviour of the product, through the real binary and real sockets, on one set of servers. */
export async function productSuite(set: ServiceSet): Promise<void> {
  const missing = await missingServers(set)
  if (missing.length > 0 && !SERVICES_REQUIRED) {
    console.log(`SKIPPED: the end-to-end suite on ${set.name}; missing: ${missing.join(', ')} (${missing.length})`)
    test(`on ${set.name}`, { skip: `missing: ${missing.join(', ')}` }, () => {})
    return
  }

  describe(`on ${set.name}`, () => {
    let product: Product
    let commander: Commander
    let project: ReturnType<typeof makeProject>
    let services: Awaited<ReturnType<ServiceSet['open']>>
    let silent: Server
    let plant: VirtualDevice | undefined

    before(async () => {
      assert.deepEqual(missing, [], 'ROUTEMQ_TEST_SERVICES=required')
      // Accepts connections and never says a word.
      silent = createServer((socket) => socket.on('error', () => {})).listen(0, '127.0.0.1')
      const closed = createServer().listen(0, '127.0.0.1')
      await Promise.all([silent, closed].map((server) => once(server, 'listening')))
      const closedPort = (closed.address() as AddressInfo).port
      closed.close()
      services = await set.open()
      plant = set.demo ? undefined : await startDemoPlant({ port: 0, mayMove: true }, silentLogger)
      const env = plant === undefined ? services.env : { ...services.env, PLANT_PORT: String(plant.port) }
      project = makeProject({
        'app/default-devices.ts': readFileSync(join(REPOSITORY, 'app/devices.ts'), 'utf8'),
        'app/devices.ts': devicesWithFaults({ silentPort: (silent.address() as AddressInfo).port, closedPort }),
      })
      product = await Product.start(project.root, { env })
      commander = await Commander.connect(product.run.broker.url, services.protocol)
    })

    after(async () => {
      await commander?.close()
      const code = await product?.stop()
      silent?.close()
      await plant?.close()
      project?.remove()
      await services?.remove()
      assert.equal(code, 0, `exit code after SIGTERM\n${product?.text}`)
    })

    test('the start-up report names routers, routes, workers, addresses and what to try next', () => {
      const { stdout } = product.output
      const run = product.run
      for (const expected of [
        'routers/devices.ts',
        'devices/{device_id}/write',
        'solo',
        'slot-1',
        'slot-2',
        'office-eng',
        'formation',
        run.broker.url,
        run.http!.url,
      ]) {
        assert.ok(stdout.includes(expected), `the report names ${expected}:\n${stdout}`)
      }
      assert.equal((stdout.match(/pid \d+/g) ?? []).length >= 3, true, 'each worker with its pid')
    })

    test('a write command over a worker moves the register, and MQTT and REST read it', async () => {
      const written = await commander.send('devices/office-eng/write', { address: 10, value: 42, request_id: 'a1' })
      assert.equal(written.error, undefined, JSON.stringify(written))
      assert.equal(written.status, 'ok')
      assert.equal(written.request_id, 'a1')
      const read = await commander.send('devices/office-eng/read', { address: 10, request_id: 'a2' })
      assert.deepEqual(read.values, [42])
      assert.equal(read.request_id, 'a2')
      const rest = await product.json('/api/devices/office-eng/registers?address=10')
      assert.equal(rest.status, 200)
      assert.deepEqual(rest.body.values, [42])
      assert.equal(rest.body.source, 'live')
    })

    test('points are written by name, several at once, with their scale and limits', async () => {
      const written = await commander.send('devices/office-eng/write', {
        points: { setpoint: 21.5, mode: 'heat' },
        request_id: 'p1',
      })
      assert.equal(written.status, 'ok', JSON.stringify(written))
      const raw = await product.json('/api/devices/office-eng/registers?address=11&count=2')
      assert.deepEqual(raw.body.values, [215, 1])
      const refused = await commander.send('devices/office-eng/write', {
        point: 'setpoint',
        value: 99,
        request_id: 'p2',
      })
      assert.equal((refused.error as { code: string }).code, 'VALUE_OUT_OF_RANGE')
    })

    test('control starts and stops', async () => {
      for (const [command, state] of [
        ['start', true],
        ['stop', false],
      ] as const) {
        const answer = await commander.send('devices/formation/control', { command, request_id: `c-${command}` })
        assert.equal(answer.status, 'ok', JSON.stringify(answer))
        const coil = await product.json('/api/devices/formation/registers?address=0&register_type=coil')
        assert.deepEqual(coil.body.values, [state])
      }
    })

    const refusals: readonly (readonly [title: string, topic: string, payload: unknown, code: string])[] = [
      ['an unknown device', 'devices/nobody/write', { address: 1, value: 1, request_id: 'r1' }, 'DEVICE_UNKNOWN'],
      ['broken JSON', 'devices/office-eng/write', '{"address": 1', 'PAYLOAD_MALFORMED'],
      ['wrong fields', 'devices/office-eng/write', { adress: 1, value: 1, request_id: 'r3' }, 'PAYLOAD_INVALID'],
      [
        'a value no register can hold',
        'devices/office-eng/write',
        { address: 30, value: 70000, request_id: 'r4' },
        'VALUE_OUT_OF_RANGE',
      ],
      [
        'a value outside the limits of the point it touches',
        'devices/office-eng/write',
        { address: 10, value: 101, request_id: 'r4b' },
        'VALUE_OUT_OF_RANGE',
      ],
      [
        'an address the device refuses',
        'devices/office-eng/write',
        { address: 60000, value: 1, request_id: 'r5' },
        'MODBUS_ILLEGAL_ADDRESS',
      ],
      [
        'a device that is switched off',
        'devices/switched-off/write',
        { address: 1, value: 1, request_id: 'r6' },
        'DEVICE_INACTIVE',
      ],
      [
        'a device nobody listens for',
        'devices/unplugged/write',
        { address: 1, value: 1, request_id: 'r7' },
        'DEVICE_UNREACHABLE',
      ],
      [
        'a read from a device that answers nothing',
        'devices/silent/read',
        { address: 1, request_id: 'r8' },
        'DEVICE_TIMEOUT',
      ],
      [
        'a write to a device that answers nothing',
        'devices/silent/write',
        { address: 1, value: 1, request_id: 'r9' },
        'WRITE_OUTCOME_UNKNOWN',
      ],
      [
        'a command that is too old',
        'devices/office-eng/write',
        { address: 10, value: 7, request_id: 'r10', timestamp: Date.now() / 1000 - 120 },
        'COMMAND_EXPIRED',
      ],
      [
        'a time that nobody can read',
        'devices/office-eng/write',
        { address: 10, value: 7, request_id: 'r11', timestamp: '2020-13-45' },
        'PAYLOAD_INVALID',
      ],
      [
        'a value beyond its limit by less than its resolution',
        'devices/office-eng/write',
        { point: 'setpoint', value: 35.01, request_id: 'r12' },
        'VALUE_OUT_OF_RANGE',
      ],
      [
        'a point whose name is a trap',
        'devices/office-eng/write',
        '{"points": {"__proto__": 1, "level": 50}}',
        'PAYLOAD_MALFORMED',
      ],
      ['no point at all', 'devices/office-eng/write', '{"points": {}}', 'PAYLOAD_INVALID'],
    ]
    for (const [title, topic, payload, code] of refusals) {
      test(`${title} is answered with ${code}`, async () => {
        const answer = await commander.send(topic, payload)
        const error = answer.error as { code: string; message: string }
        assert.equal(error?.code, code, JSON.stringify(answer))
        assert.ok(error.message.length > 10, 'and a sentence')
        if (typeof payload === 'object') assert.equal(answer.request_id, (payload as { request_id: string }).request_id)
      })
    }

    test('bad input costs nobody else anything: good commands among bad ones all succeed', async () => {
      const bad = refusals.map(([, topic, payload]) =>
        commander.client.publishAsync(topic, typeof payload === 'string' ? payload : JSON.stringify(payload), {
          qos: 1,
        }),
      )
      const good = Array.from({ length: 20 }, (_, index) =>
        commander.send('devices/office-eng/write', { address: 20 + index, value: index, request_id: `g${index}` }),
      )
      await Promise.all(bad)
      for (const answer of await Promise.all(good)) assert.equal(answer.status, 'ok', JSON.stringify(answer))
      const read = await product.json('/api/devices/office-eng/registers?address=20&count=20')
      assert.deepEqual(
        read.body.values,
        Array.from({ length: 20 }, (_, index) => index),
      )
    })

    test('names that no table takes do not stop the audit', async () => {
      await commander.send(`devices/${'x'.repeat(60)}/write`, { address: 1, value: 1, request_id: 'n1' })
      await commander.send('devices/office-eng/write', { point: 'a\u0000b', value: 1, request_id: 'n2' })
      await commander.send('devices/office-eng/write', { address: 10, value: 33, request_id: 'n3' })
      let found = false
      for (let look = 0; look < 600 && !found; look += 1) {
        const audit = await product.json('/api/audit?device_id=office-eng&limit=5')
        found = JSON.stringify(audit.body).includes('33')
        if (!found) await pause(100)
      }
      assert.ok(found, 'the write after them is in the audit')
    })

    test('a value that the register cannot hold to the digit is answered with the one it holds', async () => {
      const answer = await commander.send('devices/office-eng/write', {
        point: 'setpoint',
        value: 21.56,
        request_id: 'v1',
      })
      assert.deepEqual(answer.written, { setpoint: 21.6 }, JSON.stringify(answer))
    })

    test('an expired command was not driven', async () => {
      await commander.send('devices/office-eng/write', { address: 10, value: 55, request_id: 'e1' })
      await commander.send('devices/office-eng/write', {
        address: 10,
        value: 66,
        request_id: 'e2',
        expires_at: Date.now() / 1000 - 1,
      })
      const read = await product.json('/api/devices/office-eng/registers?address=10')
      assert.deepEqual(read.body.values, [55])
    })

    test('the poller publishes blocks and points in the documented shape, once a slot', async () => {
      const seen: { topic: string; body: Record<string, unknown> }[] = []
      const onMessage = (topic: string, payload: Buffer) => {
        if (/\/(holding|points)\//.test(topic)) seen.push({ topic, body: JSON.parse(payload.toString()) })
      }
      commander.client.on('message', onMessage)
      await commander.client.subscribeAsync([
        'modbus/data/office-eng/holding/0',
        'modbus/data/office-eng/points/temperature',
      ])
      for (let look = 0; look < 1_200 && seen.filter(({ topic }) => topic.endsWith('holding/0')).length < 4; look += 1)
        await pause(50)
      await commander.client.unsubscribeAsync([
        'modbus/data/office-eng/holding/0',
        'modbus/data/office-eng/points/temperature',
      ])
      commander.client.off('message', onMessage)
      const blocks = seen.filter(({ topic }) => topic.endsWith('holding/0')).map(({ body }) => body)
      for (const block of blocks) {
        assert.deepEqual(Object.keys(block).sort(), [
          'address',
          'count',
          'device_id',
          'register_type',
          'timestamp',
          'values',
        ])
        assert.equal(block.device_id, 'office-eng')
        assert.equal((block.values as number[]).length, 6)
      }
      const times = blocks.map((block) => block.timestamp as number)
      const steps = times.slice(1).map((time, index) => time - times[index]!)
      console.log(`poll steps on ${set.name}: ${steps.map((step) => step.toFixed(3)).join(', ')} s`)
      // A poll may be late, and the next one on time.
      assert.ok(
        steps.every((step) => step > 0) && steps.reduce((sum, step) => sum + step) > steps.length / 2,
        'no slot is published twice',
      )
      const point = seen.find(({ topic }) => topic.endsWith('points/temperature'))!.body
      assert.deepEqual(Object.keys(point).sort(), ['quality', 'timestamp', 'unit', 'value'])
      assert.equal(point.quality, 'good')
      assert.equal(point.unit, '°C')
    })

    test('the last values are in the cache, and a cached read says so', async () => {
      const cached = await product.json('/api/devices/office-eng/registers?address=0&count=2&source=cache')
      assert.equal(cached.status, 200)
      assert.equal(cached.body.source, 'cache')
      assert.equal(typeof cached.body.cached_at, 'string')
    })

    test('readings are stored', async () => {
      for (let look = 0; ; look += 1) {
        assert.ok(look < 300, 'readings of the temperature are in the history')
        const readings = await product.json('/api/readings?device_id=office-eng&limit=10')
        assert.equal(readings.status, 200, JSON.stringify(readings.body))
        if (JSON.stringify(readings.body).includes('temperature')) break
        await pause(200)
      }
    })

    test('they are there in buckets, by width and by day, and as CSV', async () => {
      const point = 'device_id=office-eng&point=temperature'
      // The day that the product started in: local midnight is at most a day before.
      const from = new Date(Date.now() - 86_400_000).toISOString()
      for (const bucket of ['15m', 'day&tz=Asia/Kathmandu']) {
        const answer = await product.fetch(`/api/readings/buckets?${point}&from=${from}&bucket=${bucket}`)
        const buckets = (await answer.json()) as BucketView[]
        assert.equal(answer.status, 200, JSON.stringify(buckets))
        const { start, end, min, avg, max, last, count, ...rest } = buckets.at(-1)!
        assert.deepEqual(rest, { device_id: 'office-eng', point: 'temperature' })
        assert.ok(
          min! <= avg! && avg! <= max! && min! <= Number(last) && Number(last) <= max! && count > 0,
          JSON.stringify(buckets),
        )
        assert.ok(Date.parse(start) < Date.now() && Date.parse(end) > Date.parse(start), `${start} ${end}`)
        if (bucket.startsWith('day')) assert.equal(new Date(start).toISOString().slice(11), '18:15:00.000Z')
      }
      const csv = await (await product.fetch(`/api/readings.csv?${point}`)).text()
      const [head, ...rows] = csv.trimEnd().split('\n')
      assert.equal(head, 'timestamp,device_id,point,value,quality')
      assert.ok(rows.length > 0 && rows.every((row) => /^[^,]+Z,office-eng,temperature,[^,]*,\w+$/.test(row)), csv)
    })

    test('the sidecar answers health, live, ready, metrics, docs and OpenAPI', async () => {
      const health = await product.json('/health')
      assert.equal(health.status, 200)
      const { database, mqtt, poller, workers } = health.body.services as Record<string, string>
      assert.deepEqual(
        { database, mqtt, workers },
        { database: 'ok', mqtt: 'ok', workers: 'ok' },
        JSON.stringify(health.body),
      )
      assert.ok(['ok', 'warning'].includes(poller!), poller)
      assert.equal((await product.fetch('/live')).status, 200)
      assert.equal((await product.fetch('/ready')).status, 200)
      const metrics = await (await product.fetch('/metrics')).text()
      assert.match(metrics, /^routemq_/m)
      assert.equal((await product.fetch('/docs/')).status, 200)
      const openapi = await product.json('/openapi.json')
      assert.match(String(openapi.body.openapi), /^3\.1/)
    })

    test('devices and gateways are listed as the contract says', async () => {
      const devices = (await (await product.fetch('/api/devices')).json()) as Record<string, unknown>[]
      const office = devices.find(({ device_id }) => device_id === 'office-eng')!
      assert.deepEqual(Object.keys(office).sort(), ['device_id', 'gateway', 'host', 'port', 'slave_id', 'timeout'])
      assert.equal(office.gateway, `${office.host}:${office.port}`)
      assert.ok(!devices.some(({ device_id }) => device_id === 'switched-off'), 'active ones only')
      const gateways = (await (await product.fetch('/api/devices/gateways')).json()) as Record<string, unknown>[]
      assert.ok(gateways.some(({ port, connected }) => port === office.port && connected === true))
    })

    test('a register is written over REST and read back over MQTT', async () => {
      const written = await product.post('/api/devices/formation/registers/write', { address: 40, values: [1, 2, 3] })
      assert.equal(written.status, 200, JSON.stringify(written.body))
      assert.equal(written.body.status, 'ok')
      const read = await commander.send('devices/formation/read', { address: 40, count: 3, request_id: 'w3' })
      assert.deepEqual(read.values, [1, 2, 3])
    })

    test('REST failures are problem documents with a code', async () => {
      const unknown = await product.json('/api/devices/nobody/registers?address=1')
      assert.equal(unknown.status, 404)
      assert.equal(unknown.body.code, 'DEVICE_UNKNOWN')
      const refused = await product.json('/api/devices/office-eng/registers?address=60000')
      assert.equal(refused.status, 502)
      assert.equal(refused.body.code, 'MODBUS_ILLEGAL_ADDRESS')
      const silentRead = await product.json('/api/devices/silent/registers?address=1')
      assert.ok([503, 504].includes(silentRead.status), String(silentRead.status))
      const invalid = await product.json('/api/devices/office-eng/registers?address=banana')
      assert.equal(invalid.status, 422)
    })

    test('the sidecar refuses a foreign Host without credentials', async () => {
      const url = new URL(product.run.http!.url)
      const status = await rawStatus(url, 'evil.example')
      assert.equal(status, 403)
    })

    test('commands of the command line reach the running product', async () => {
      const listed = await runCommand(project.root, ['device:list', '--json'], { env: services.env })
      assert.equal(listed.code, 0, listed.stderr)
      assert.ok(listed.stdout.includes('office-eng'))
      const written = await runCommand(project.root, ['device:write', 'office-eng', '13', '77'], { env: services.env })
      assert.equal(written.code, 0, written.stdout + written.stderr)
      const read = await runCommand(project.root, ['device:read', 'office-eng', '13', '--json'], { env: services.env })
      assert.equal(read.code, 0, read.stderr)
      assert.ok(read.stdout.includes('77'), read.stdout)
    })

    test('a killed worker is replaced and the command path works again', async () => {
      const workers = (await product.json('/api/admin/workers')).body as unknown as { name: string; pid: number }[]
      const list = Array.isArray(workers) ? workers : (workers as { workers: { name: string; pid: number }[] }).workers
      const slot = list.find(({ name }) => name === 'slot-1')!
      process.kill(slot.pid, 'SIGKILL')
      const answers = await Promise.all(
        Array.from({ length: 10 }, (_, index) =>
          commander.send('devices/office-eng/read', { address: 10, request_id: `k${index}` }, 120_000),
        ),
      )
      assert.equal(answers.filter(({ values }) => values !== undefined).length, 10)
    })
  })
}

/** `fetch` sets Host itself, so this speaks HTTP by hand. */
async function rawStatus(url: URL, host: string): Promise<number> {
  const { request } = await import('node:http')
  return new Promise((resolve, reject) => {
    const call = request(
      { host: url.hostname, port: url.port, path: '/api/devices', headers: { host } },
      (response) => {
        response.resume()
        resolve(response.statusCode ?? 0)
      },
    )
    call.on('error', reject)
    call.end()
  })
}
