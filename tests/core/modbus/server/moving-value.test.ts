import assert from 'node:assert/strict'
import { test } from 'node:test'
import { movingSource } from '../../../../core/modbus/server/moving-value.js'
import { Slave } from '../../../../core/modbus/server/slave.js'

const half = () => 0.5

test('a sine swings round its centre', () => {
  const at = movingSource({ kind: 'sine', centre: 100, amplitude: 10, periodMs: 1_000 }, half)
  assert.deepEqual(
    [0, 250, 500, 750].map((ms) => Math.round(at(ms))),
    [100, 110, 100, 90],
  )
})

test('a ramp climbs and starts again', () => {
  const at = movingSource({ kind: 'ramp', from: 0, to: 100, periodMs: 1_000 }, half)
  assert.deepEqual(
    [0, 500, 990, 1_000, 1_500].map((ms) => Math.round(at(ms))),
    [0, 50, 99, 0, 50],
  )
})

test('a replay gives one recorded value after the other', () => {
  const at = movingSource({ kind: 'replay', values: [5, 6, 7], everyMs: 100 }, half)
  assert.deepEqual([0, 99, 100, 250, 300].map(at), [5, 5, 6, 7, 5])
})

test('a walk takes its steps as time passes, inside its limits, and costs little after a long pause', () => {
  const up = movingSource({ kind: 'walk', start: 50, step: 2, min: 0, max: 60, everyMs: 100 }, () => 1)
  assert.deepEqual([0, 100, 350].map(up), [50, 52, 56])
  assert.equal(up(10_000), 60)
  assert.equal(up(1e12), 60)
})

test('a moving register follows the clock until it is written', () => {
  let now = 0
  const clock = { now: () => now, monotonic: () => now, after: () => () => {} }
  const slave = new Slave({
    clock,
    units: { 1: { moving: { holding: { 3: { kind: 'ramp', from: 0, to: 100, periodMs: 100 } } } } },
  })
  now = 40
  assert.equal(slave.get(1, 'holding', 3), 40)
  slave.set(1, 'holding', 3, 7)
  now = 80
  assert.equal(slave.get(1, 'holding', 3), 7)
})
