import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { type TestContext, test } from 'node:test'
import { connectAsync } from 'mqtt'
import { EXIT } from '../../../core/cli/exit-codes.js'
import { main } from '../../../core/cli/program.js'
import { folder } from '../support/folder.js'
import { command, serverMissing } from './support.js'

const BROKER = { MQTT_BROKER: '127.0.0.1', MQTT_PORT: '1883' }
const missing = (t: TestContext) => serverMissing(t, 'mosquitto', 1883)

/** A handler somewhere: answers what `reply` makes of a request, on its response topic or beside the topic. */
async function responder(t: TestContext, topic: string, reply: (payload: string) => string | undefined) {
  const client = await connectAsync('mqtt://127.0.0.1:1883', { protocolVersion: 5 })
  t.after(() => client.endAsync())
  client.on('message', (on, payload, packet) => {
    const answer = reply(payload.toString())
    const correlationData = packet.properties?.correlationData
    if (answer === undefined) return
    client.publish(packet.properties?.responseTopic ?? `${on}/response`, answer, {
      qos: 1,
      ...(correlationData === undefined ? {} : { properties: { correlationData } }),
    })
  })
  await client.subscribeAsync(topic, { qos: 1 })
  return client
}

test('pub sends and sub prints, up to the count', async (t) => {
  if (await missing(t)) return
  const topic = `cli/${randomUUID()}`
  const root = folder(t)
  // Retained, so that it is there whenever the subscription is.
  assert.deepEqual(await command(root, ['pub', `${topic}/a`, '{"value": 1}', '-r'], BROKER), {
    code: 0,
    out: '',
    err: '',
  })
  assert.equal((await command(root, ['pub', `${topic}/b`, 'bell\u0007', '-r', '-q', '0'], BROKER)).code, 0)
  const people = await command(root, ['sub', `${topic}/#`, '-C', '2', '-t', '10'], BROKER)
  assert.equal(people.code, 0)
  assert.deepEqual(people.out.split('\n').sort(), [`${topic}/a {"value": 1}`, `${topic}/b bell·`])
  const json = await command(root, ['sub', `${topic}/a`, '-C', '1', '-t', '10', '--json'], BROKER)
  assert.deepEqual(JSON.parse(json.out), { topic: `${topic}/a`, qos: 1, retain: true, payload: '{"value": 1}' })
  for (const name of ['a', 'b']) await command(root, ['pub', `${topic}/${name}`, '', '-r'], BROKER)
})

test('sub fails when too little came in time', async (t) => {
  if (await missing(t)) return
  const { code, err } = await command(folder(t), ['sub', `cli/${randomUUID()}`, '-C', '1', '-t', '1'], BROKER)
  assert.equal(code, EXIT.unavailable)
  assert.match(err, /CALL_TIMEOUT: 0 messages came within 1 s/)
})

for (const protocol of ['5', '3.1.1']) {
  test(`pub --wait prints the answer to its own request, MQTT ${protocol}`, async (t) => {
    if (await missing(t)) return
    const topic = `cli/${randomUUID()}/write`
    await responder(
      t,
      topic,
      (payload) => `{"status": "ok", "request_id": ${JSON.stringify(JSON.parse(payload).request_id)}}`,
    )
    const env = { ...BROKER, MQTT_PROTOCOL: protocol }
    const asked = ['a1', 'a2', 'a3'].map((id) =>
      command(folder(t), ['pub', topic, `{"request_id": "${id}"}`, '--wait', '10'], env),
    )
    const answers = await Promise.all(asked)
    assert.deepEqual(
      answers.map(({ code, out }) => [code, JSON.parse(out).request_id]),
      [
        [0, 'a1'],
        [0, 'a2'],
        [0, 'a3'],
      ],
    )
  })
}

test('an answer that is an error ends with 5, none in time with 6', async (t) => {
  if (await missing(t)) return
  const topic = `cli/${randomUUID()}/write`
  await responder(t, topic, (payload) => (payload === 'x' ? '{"error": {"code": "DEVICE_UNKNOWN"}}' : undefined))
  const refused = await command(folder(t), ['pub', topic, 'x', '--wait'], BROKER)
  assert.deepEqual([refused.code, refused.out], [EXIT.refused, '{"error":{"code":"DEVICE_UNKNOWN"}}'])
  const silent = await command(folder(t), ['pub', topic, 'y', '--wait', '0.3'], BROKER)
  assert.equal(silent.code, EXIT.unavailable)
  assert.match(silent.err, /CALL_TIMEOUT: No answer on routemq\/reply\/cli-\S+ within 0\.3 s/)
})

test('a broker that is not there is named', async (t) => {
  const { code, err } = await command(folder(t), ['pub', 'a', 'b'], { MQTT_URL: 'mqtt://user:secret@127.0.0.1:1' })
  assert.equal(code, EXIT.unavailable)
  assert.match(err, /^routemq: BROKER_UNAVAILABLE: .*127\.0\.0\.1:1/)
  assert.ok(!err.includes('secret'))
})

test('the embedded broker of a product that does not run is NOT_RUNNING', async (t) => {
  const { code, err } = await command(folder(t), ['sub', 'a/#'])
  assert.equal(code, EXIT.notRunning)
  assert.match(err, /The broker is the embedded one, and the product does not run/)
})

test('Ctrl-C while an answer is waited for says that it was ended, not that the time is over', async (t) => {
  if (await missing(t)) return
  const topic = `cli/${randomUUID()}`
  const stop = new AbortController()
  await responder(t, topic, () => {
    stop.abort()
    return undefined
  })
  const err: string[] = []
  const code = await main(['--root', folder(t), 'pub', topic, 'x', '--wait', '3000'], {
    env: BROKER,
    signal: stop.signal,
    err: (text) => void err.push(text),
  })
  assert.equal(code, EXIT.unavailable)
  assert.match(err.join('\n'), /REQUEST_CANCELLED: Ended before an answer came on .*; the message was published/)
})
