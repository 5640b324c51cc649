import assert from 'node:assert/strict'
import { test } from 'node:test'
import { checkResponseTopic, mayAnswer } from '../../../core/mqtt/reply-topic.js'

const PREFIXES = ['+/+/+/response', 'routemq/reply/#']

test('a response topic is used only under the prefixes, without wildcards, and where no route listens', () => {
  const check = (topic: string, routes: string[] = []) => checkResponseTopic(topic, PREFIXES, routes)?.message
  assert.equal(check('devices/42/write/response'), undefined)
  assert.equal(check('routemq/reply/client/1'), undefined)
  assert.match(check('devices/42/write')!, /under none of/)
  assert.match(check('a/b/c/d/response')!, /under none of/)
  assert.match(check('devices/+/write/response')!, /wildcard/)
  assert.match(check('routemq/reply/#')!, /wildcard/)
  assert.match(check('$SYS/a/b/response')!, /belong to the broker|under none/)
  assert.match(check('')!, /empty/)
  assert.match(check('devices/42/write/response', ['devices/#'])!, /routed, by "devices\/#"/)
  assert.equal(check('devices/42/write/response', ['devices/+/write']), undefined)
  assert.match(checkResponseTopic('a/b/c/response', [], [])!.message, /none are set/)
  assert.equal(checkResponseTopic('x', PREFIXES, [])!.code, 'RESPONSE_TOPIC_REFUSED')
})

test('answers and our own topics are never answered', () => {
  for (const topic of ['a/b/response', 'response', 'routemq/reply/x/y', 'routemq/dead/a', 'routemq'])
    assert.equal(mayAnswer(topic), false, topic)
  for (const topic of ['a/b', 'response/a', 'a/responses', 'routemqx/a']) assert.equal(mayAnswer(topic), true, topic)
})
