import assert from 'node:assert/strict'
import { once } from 'node:events'
import { connect, Socket } from 'node:net'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'

/** Holding registers 0 to 124 of unit 1: 12 bytes ask for 259. */
const READ = Buffer.from([0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 125])
const ANSWER_BYTES = 259

async function until(holds: () => boolean, what: string): Promise<void> {
  for (const startedAt = performance.now(); !holds(); await pause(5)) {
    if (performance.now() - startedAt > 30_000) throw new Error(`never: ${what}`)
  }
}

test('a master that asks for more than it reads has all its answers once it reads, and few of them wait meanwhile', async (t) => {
  const device = await startVirtualDevice({ units: { 1: {} } })
  t.after(() => device.close())
  let most = 0
  const { uncork } = Socket.prototype
  t.mock.method(Socket.prototype, 'uncork', function (this: Socket) {
    if (this.localPort === device.port) most = Math.max(most, this.writableLength)
    return uncork.call(this)
  })
  const master = connect(device.port, '127.0.0.1')
  await once(master, 'connect')
  master.pause()
  const asked = 50_000
  master.write(Buffer.concat(Array<Buffer>(asked).fill(READ)))
  await until(() => device.requests > 1_000, 'requests')
  let read = 0
  master.on('data', (bytes) => (read += bytes.length)).resume()
  await until(() => read === asked * ANSWER_BYTES, 'all answers')
  assert.equal(device.requests, asked)
  assert.ok(most > 0 && most < 150_000, `${most} bytes waited`)
})

test('of more masters than can be served the one that was silent the longest goes', async (t) => {
  const device = await startVirtualDevice({ units: { 1: {} } })
  t.after(() => device.close())
  const ask = async (master: Socket) => {
    master.write(READ)
    const [answer] = (await once(master, 'data')) as [Buffer]
    assert.equal(answer.length, ANSWER_BYTES)
  }
  const masters: Socket[] = []
  for (let n = 0; n < 250; n++) {
    const master = connect(device.port, '127.0.0.1')
    masters.push(master)
    await ask(master)
  }
  await ask(masters[0]!)
  const last = connect(device.port, '127.0.0.1')
  await ask(last)
  await until(() => masters[1]!.resume().closed, 'the end of the one that was silent the longest')
  for (const master of [masters[0]!, ...masters.slice(2), last]) await ask(master)
})

test('answers that a fault holds back are bounded', async (t) => {
  const clock = new FakeClock()
  const device = await startVirtualDevice({ units: { 1: {} }, faults: { 1: { kind: 'delay', ms: 1_000 } }, clock })
  t.after(() => device.close())
  const master = connect(device.port, '127.0.0.1')
  let read = 0
  master.on('data', (bytes) => (read += bytes.length))
  master.write(Buffer.concat(Array<Buffer>(12_000).fill(READ)))
  await until(() => device.requests === 12_000, 'requests')
  await clock.advance(1_000)
  await until(() => read >= 10_000 * ANSWER_BYTES, 'the answers that were held back')
  // What is asked now is answered behind everything that was held back.
  master.write(READ)
  await until(() => device.requests === 12_001, 'the last request')
  await clock.advance(1_000)
  await until(() => read >= 10_001 * ANSWER_BYTES, 'the last answer')
  assert.equal(read, 10_001 * ANSWER_BYTES)
})
