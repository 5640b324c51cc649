import assert from 'node:assert/strict'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { makeProject } from '../../e2e/support/project.js'
import { command } from './support.js'

/** The default application lies in the checkout itself. */
const root = fileURLToPath(new URL('../../..', import.meta.url))
const rows = async (...args: string[]) => {
  const { code, out, err } = await command(root, [...args, '--json'])
  return { code, err, found: out === '' ? [] : (JSON.parse(out) as Record<string, unknown>[]) }
}

test('route:list tells topic, subscription with its share group, qos, slots, lane, middleware, handler and file', async () => {
  const { code, found } = await rows('route:list')
  assert.equal(code, 0)
  const write = found.find(({ name }) => name === 'devices.write')
  assert.deepEqual(write?.slots, [1, 2])
  assert.deepEqual(
    { ...write, middleware: String(write.middleware).split(':')[0] },
    {
      ...write,
      name: 'devices.write',
      topic: 'devices/{device_id}/write',
      subscription: '$share/routemq/devices/+/write',
      qos: 1,
      lane: 'shared',
      middleware: 'log,auth,throttle',
      handler: 'DeviceController.write',
      file: 'routers/devices.ts',
    },
  )
  const { out } = await command(root, ['route:list'])
  const [head, ...lines] = out.split('\n')
  assert.match(head!, /^name +topic +subscription +qos +slots +lane +middleware +handler +file$/)
  assert.equal(lines.length, found.length)
})

test('route:match tells what would run, and of its neighbours why they would not', async () => {
  const { code, found } = await rows('route:match', 'devices/42/write')
  assert.equal(code, 0)
  const [first, ...others] = found
  assert.equal(first?.runs, true)
  assert.deepEqual([first?.topic, first?.params], ['devices/{device_id}/write', { device_id: '42' }])
  assert.deepEqual(
    others.map(({ topic, runs, reason }) => [topic, runs, reason]),
    [
      ['devices/{device_id}/read', false, 'level 3 is "write", the pattern says "read"'],
      ['devices/{device_id}/control', false, 'level 3 is "write", the pattern says "control"'],
    ],
  )
})

test('route:match --payload checks the payload too, and ends with 1 where nothing would run', async () => {
  const refused = await rows('route:match', 'devices/42/write', '--payload', '{"nonsense": 1}')
  assert.equal(refused.code, 1)
  assert.equal(refused.found[0]?.runs, false)
  assert.match(String(refused.found[0]?.reason), /the payload is not as the route expects: .*nonsense/)
  const taken = await rows('route:match', 'devices/42/write', '--payload', '{"address": 1, "value": 2}')
  assert.deepEqual([taken.code, taken.found[0]?.runs], [0, true])
})

test('route:match on an empty level says which parameter needs a value', async () => {
  const { code, found } = await rows('route:match', 'devices//write')
  assert.equal(code, 1)
  assert.deepEqual(
    found.map(({ runs, reason }) => [runs, reason]),
    [[false, 'level 2 is empty, {device_id} needs a value']],
  )
})

test('the default application hears availability where the settings publish it', async (t) => {
  for (const [file, text] of [
    ['.env', 'MQTT_TOPIC_PREFIX=site-7/values\n'],
    ['routemq.config.yaml', 'mqtt:\n  topic_prefix: site-7/values\n'],
  ] as const) {
    const project = makeProject({ [file]: text })
    t.after(() => project.remove())
    const { out, err } = await command(project.root, ['route:list', '--json'])
    const found = (JSON.parse(out || '[]') as { name: string; subscription: string }[]).find(
      ({ name }) => name === 'availability',
    )
    assert.equal(found?.subscription, 'site-7/values/+/availability', `${file}: ${err}`)
  }
})
