import assert from 'node:assert/strict'
import { type TestContext, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { needsMosquitto, startMosquitto } from '../core/mqtt/kit.js'
import { Answers } from './support/answers.js'
import { Installation } from './support/installation.js'
import { commandRouter, Plant } from './support/plant.js'
import { Publisher } from './support/publisher.js'
import { figures, size } from './support/size.js'
import { until } from './support/waiting.js'

const COMMANDS = 20
const MAX_AGE_S = size(2, 30)
const AWAY_MS = size(4_000, 60_000)
const TOO_OLD = ['COMMAND_EXPIRED', 'COMMAND_AGE_UNKNOWN']

async function plantWithCommands(t: TestContext, protocol: 4 | 5) {
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const plant = await Plant.start(t, 1)
  const installation = await Installation.start(t, {
    brokerUrl: mosquitto.url,
    router: commandRouter(`shared: true, workers: 1, concurrency: 8, maxAge: '${MAX_AGE_S}s'`),
    devices: plant.definition,
    workers: 1,
    // Else the watchdog replaces a worker that stands still for so long.
    env: { MQTT_PROTOCOL: protocol === 5 ? '5' : '3.1.1', ROUTEMQ_WORKER_STALL: '5m' },
  })
  const answers = await Answers.on(mosquitto.url, 'devices/+/set/response', protocol)
  const publisher = await Publisher.connect(mosquitto.url, protocol)
  t.after(async () => {
    await answers.close()
    await publisher.close()
  })
  const command = (number: number, options = {}) =>
    publisher.publish({
      topic: 'devices/d0/set',
      payload: { number, request_id: `c${number}` },
      options,
    })
  await command(1_000)
  await until('the plant answers', () => answers.size === 1)
  assert.equal(plant.writes.length, 1)
  return { plant, installation, answers, command }
}

async function refused(answers: Answers, plant: Plant, title: string) {
  await until(
    'each command is answered',
    () => answers.size === 1 + COMMANDS,
    30_000,
    () => `${answers.size}`,
  )
  const codes = [...answers.byId].filter(([id]) => id !== 'c1000').map(([, [first]]) => first!)
  figures(title, {
    commands: COMMANDS,
    'away, s': AWAY_MS / 1_000,
    'maxAge, s': MAX_AGE_S,
    'seen by the device': plant.writes.length - 1,
    answers: JSON.stringify(answers.outcomes()),
  })
  assert.equal(plant.writes.length, 1, 'the device saw none of them')
  assert.deepEqual(
    codes.filter((code) => !TOO_OLD.includes(code)),
    [],
  )
  assert.equal(answers.repeated, 0)
}

for (const protocol of [4, 5] as const) {
  const version = protocol === 5 ? 'MQTT 5' : 'MQTT 3.1.1'

  test(`a worker that stands still for longer than maxAge drives none of the commands that came meanwhile, ${version}`, async (t) => {
    if (!needsMosquitto(t)) return
    const { plant, installation, answers, command } = await plantWithCommands(t, protocol)
    const { pid } = (await installation.workers()).find(({ name }) => name === 'slot-1')!
    process.kill(pid!, 'SIGSTOP')
    for (let number = 0; number < COMMANDS; number += 1) {
      // Half of them with an expiry of their own, where the protocol has one.
      await command(
        number,
        protocol === 5 && number % 2 === 0 ? { properties: { messageExpiryInterval: MAX_AGE_S } } : {},
      )
    }
    await pause(AWAY_MS)
    process.kill(pid!, 'SIGCONT')
    await refused(answers, plant, `worker stopped, ${version}`)
    await installation.untilReady()
    let number = 2_000
    await until('a new command drives', async () => {
      const id = `c${++number}`
      await command(number)
      await until('it is answered', () => answers.byId.has(id))
      return plant.writes.length > 1
    })
  })

  test(`an application that was away for longer than maxAge drives none of the queued commands, ${version}`, async (t) => {
    if (!needsMosquitto(t)) return
    const { plant, installation, answers, command } = await plantWithCommands(t, protocol)
    await installation.killGateway()
    for (let number = 0; number < COMMANDS; number += 1) await command(number)
    await pause(AWAY_MS)
    await installation.up()
    await refused(answers, plant, `application away, ${version}`)
  })
}

test('a retained command is not run', async (t) => {
  if (!needsMosquitto(t)) return
  const mosquitto = await startMosquitto()
  t.after(() => mosquitto.stop())
  const plant = await Plant.start(t, 1)
  const publisher = await Publisher.connect(mosquitto.url)
  t.after(() => publisher.close())
  const answers = await Answers.on(mosquitto.url, 'devices/+/set/response')
  t.after(() => answers.close())
  const command = (number: number, retain: boolean) =>
    publisher.publish({ topic: 'devices/d0/set', payload: { number, request_id: `c${number}` }, options: { retain } })
  await command(7, true)
  // A plain route: brokers send retained messages to these only.
  const router = commandRouter("maxAge: '30s'")
  await Installation.start(t, { brokerUrl: mosquitto.url, router, devices: plant.definition, workers: 1 })
  await command(9, false)
  await until('the command that is not retained is answered', () => answers.byId.has('c9'))
  figures('retained command', {
    driven: [...plant.numbers().keys()].join(' '),
    answers: [...answers.byId.keys()].join(' '),
  })
  assert.deepEqual([...plant.numbers().keys()], [9])
  assert.deepEqual([...answers.byId.keys()], ['c9'])
})
