import assert from 'node:assert/strict'
import { test } from 'node:test'
import { bytes, choice, duration, flag, integer, list, seconds, url } from '../../../core/config/kinds.js'
import { nearest } from '../../../core/config/nearest.js'
import { isTopicFilter } from '../../../core/config/topic-text.js'

test('integers take digits only, in their range', () => {
  const kind = integer(1, 10)
  assert.deepEqual(['1', '10', '0', '11', '1.5', '1e1', ' 1', '0x1', ''].map(kind.parse), [
    1,
    10,
    ...Array<undefined>(7).fill(undefined),
  ])
})

test('addresses of the web are those that can be asked', () => {
  const kind = url('http:// or https://')
  for (const good of ['http://h', 'https://h:4318/v1', 'http://[::1]:1/keys?x=1', 'https://u:p@h'])
    assert.equal(kind.parse(good), good)
  for (const bad of ['http://[', 'https://a b', 'http://', 'ftp://h', 'h:4318', 'http://h:99999', 'file:///etc'])
    assert.equal(kind.parse(bad), undefined, bad)
})

test('sizes take units of 1024', () => {
  const kind = bytes(0, 2 ** 40)
  assert.deepEqual(['10', '1k', '1KB', '2KiB', '1 MiB', '1gb', '5b', '1.5k', '-1', '1tb'].map(kind.parse), [
    10,
    1024,
    1024,
    2048,
    2 ** 20,
    2 ** 30,
    5,
    undefined,
    undefined,
    undefined,
  ])
})

test('seconds and durations end in milliseconds', () => {
  assert.deepEqual(['1', '0.25', '-1', '1s'].map(seconds(0, 10).parse), [1000, 250, undefined, undefined])
  assert.deepEqual(['250', '1s', '5m', '1x'].map(duration(0, 1e9).parse), [250, 1000, 300_000, undefined])
})

test('flags, lists and words', () => {
  assert.deepEqual(['TRUE', '1', 'off', 'No', 'maybe'].map(flag().parse), [true, true, false, false, undefined])
  assert.deepEqual(list().parse(' a, b ,,c'), ['a', 'b', 'c'])
  const kind = choice({ one: 1 })
  assert.deepEqual(['ONE', 'two', 'constructor', '__proto__'].map(kind.parse), [1, undefined, undefined, undefined])
})

test('the nearest name is found where one is near', () => {
  const known = ['MQTT_BROKER', 'MQTT_PORT', 'HTTP_PORT']
  assert.equal(nearest('MQTT_BROKR', known), 'MQTT_BROKER')
  assert.equal(nearest('mqtt_prot', known), 'MQTT_PORT')
  assert.equal(nearest('COMPLETELY_ELSE', known), undefined)
})

test('topic filters: wildcards fill a level, # is last', () => {
  const good = ['a', 'a/+/b', '#', 'a/#', '+', '/', 'a//b']
  const bad = ['', 'a+', 'a/#/b', 'a#', 'a\0b']
  assert.deepEqual(
    good.map(isTopicFilter),
    good.map(() => true),
  )
  assert.deepEqual(
    bad.map(isTopicFilter),
    bad.map(() => false),
  )
})
