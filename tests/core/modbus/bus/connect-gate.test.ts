import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BusConnection } from '../../../../core/modbus/bus/bus-connection.js'
import { ConnectGate } from '../../../../core/modbus/bus/connect-gate.js'
import { sleep } from '../../../../core/support/clock.js'
import { FakeClock } from '../../../../core/testing/fake-clock.js'
import { ScriptedTransport } from './scripted-bus.js'

test('the gate of connects counts each host for itself', () => {
  let now = 0
  const gate = new ConnectGate({ now: () => now, monotonic: () => now, after: () => () => {} })
  const at = Array.from({ length: 25 }, () => now + gate.claim('h'))
  for (let i = 10; i < at.length; i += 1) assert.ok(at[i]! - at[i - 10]! >= 1_100)
  assert.deepEqual(
    at.slice(0, 10),
    Array.from({ length: 10 }, () => 0),
  )
  assert.equal(gate.claim('other'), 0)
  now = 10_000
  assert.equal(gate.claim('h'), 0)
})

test('a connection that closes slowly is opened again in its turn, not in the second of others', async () => {
  const clock = new FakeClock()
  const gate = new ConnectGate(clock)
  const connects: number[] = []
  const open = (closeMs: number) => {
    const connection = new BusConnection({
      createTransport() {
        const line = new ScriptedTransport(true)
        line.connect = async () => void connects.push(clock.monotonic())
        line.close = () => sleep(closeMs, undefined, clock)
        return line
      },
      clock,
      random: () => 0,
      claimConnect: () => gate.claim('h'),
      isWanted: () => true,
      isBlamed: () => false,
      onState: () => {},
      onOpen: () => {},
      onLost: () => {},
      onFailed: () => {},
    })
    connection.open(100)
    return connection
  }
  const slow = Array.from({ length: 10 }, () => open(500))
  await clock.advance(5_000)
  connects.length = 0
  for (const connection of slow) {
    connection.abandon(connection.transport!)
    connection.open(100)
  }
  await clock.advance(400)
  const others = Array.from({ length: 10 }, () => open(0))
  await clock.advance(5_000)
  assert.equal(connects.length, 20)
  for (let i = 10; i < connects.length; i += 1) assert.ok(connects[i]! - connects[i - 10]! >= 1_000, `${connects}`)
  for (const connection of [...slow, ...others]) connection.retire('the end')
})
