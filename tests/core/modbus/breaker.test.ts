import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Breaker } from '../../../core/modbus/breaker.js'
import { ProbeBudget, Quarantine } from '../../../core/modbus/quarantine.js'

test('opens after so many failures in a row, lets one try through after the recovery', () => {
  const breaker = new Breaker({ failures: 3, recoveryMs: 100 })
  breaker.fail(0)
  breaker.fail(0)
  breaker.succeed()
  breaker.fail(0)
  breaker.fail(0)
  assert.equal(breaker.tryPass(0), true)
  breaker.fail(0)
  assert.deepEqual(breaker.state, { name: 'open', retryAt: 100 })
  assert.equal(breaker.tryPass(99), false)
  assert.equal(breaker.tryPass(100), true)
  assert.equal(breaker.tryPass(100), false, 'one at a time')
  breaker.fail(100)
  assert.deepEqual(breaker.state, { name: 'open', retryAt: 200 })
  assert.equal(breaker.tryPass(200), true)
  breaker.abstain(200)
  assert.equal(breaker.tryPass(200), true, 'a try that told nothing may be followed by another')
  breaker.succeed()
  assert.deepEqual(breaker.state, { name: 'closed', failures: 0 })
})

test('two time-outs in a row put a device into quarantine, any answer ends it', () => {
  const quarantine = new Quarantine()
  assert.equal(quarantine.silent(1), false)
  quarantine.alive()
  assert.equal(quarantine.silent(2), false)
  assert.equal(quarantine.silent(3), true)
  assert.equal(quarantine.active, true)
  assert.equal(quarantine.silent(4), false, 'it begins once')
  assert.equal(quarantine.alive(), true)
  assert.equal(quarantine.active, false)
})

test('waiting for silent units costs their bus five percent, taken in turns', () => {
  const budget = new ProbeBudget()
  const probed: string[] = []
  let waited = 0
  for (let now = 0; now < 60_000; now += 50) {
    for (const device of now < 30_000 ? ['a', 'b', 'c'] : ['a', 'c']) {
      if (!budget.claim(device, 100, 50, now)) continue
      probed.push(device)
      waited += 100
    }
  }
  assert.ok(waited <= 0.05 * 60_000 + 100, `${waited} ms`)
  assert.deepEqual(probed.slice(0, 6), ['a', 'b', 'c', 'a', 'b', 'c'])
  assert.deepEqual(new Set(probed.slice(-4)), new Set(['a', 'c']), 'one that asks no more holds nobody up')
  assert.ok(probed.length >= 28, `${probed.length} probes`)
})

test('a silent unit that is polled once an hour neither blocks the probes of its bus nor is starved by them', () => {
  const budget = new ProbeBudget()
  const hour = 3_600_000
  const probed = { often: [] as number[], seldom: [] as number[] }
  for (let now = 0; now < 20 * hour; now += 1_000) {
    // Always in the middle between two probes of the other.
    if (now % hour === 10_000 && budget.claim('seldom', 1_000, hour, now)) probed.seldom.push(now)
    if (budget.claim('often', 1_000, 1_000, now)) probed.often.push(now)
  }
  const gaps = probed.often.slice(1).map((at, index) => at - probed.often[index]!)
  assert.ok(Math.max(...gaps) <= 60_000, `${Math.max(...gaps)} ms`)
  assert.ok(probed.seldom.length >= 9, `${probed.seldom.length} probes`)
  const waited = (probed.often.length + probed.seldom.length) * 1_000
  assert.ok(waited <= 0.05 * 20 * hour + 2_000, `${waited} ms`)
})

test('a unit that is alive or gone holds nobody up', () => {
  const budget = new ProbeBudget()
  assert.equal(budget.claim('a', 100, 10_000, 0), true)
  assert.equal(budget.claim('b', 100, 10_000, 1_000), false)
  assert.equal(budget.claim('c', 100, 10_000, 2_000), false, 'it is the turn of b')
  budget.forget('b')
  assert.equal(budget.claim('c', 100, 10_000, 2_001), true)
})

test('a probe that is answered costs what it took: the units of a gateway that is back come back at once', () => {
  const budget = new ProbeBudget()
  assert.equal(budget.claim('a', 1_000, 1_000, 0), true)
  budget.took(0, 10)
  assert.equal(budget.claim('b', 1_000, 1_000, 209), false)
  assert.equal(budget.claim('b', 1_000, 1_000, 211), true)
  assert.equal(budget.claim('c', 1_000, 1_000, 20_210), false, 'one that is not waits for its share')
  assert.equal(budget.claim('c', 1_000, 1_000, 20_211), true)
})
