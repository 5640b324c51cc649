import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { contains, filterProblem, matches, overlaps, parseShare, topicProblem } from '../../../core/mqtt/topic.js'

test('a topic matches a filter as MQTT 5.0, 4.7 says', () => {
  const rows: [filter: string, topic: string, expected: boolean][] = [
    ['a/b', 'a/b', true],
    ['a/b', 'a/b/c', false],
    ['a/+', 'a/b', true],
    ['a/+', 'a/', true],
    ['a/+', 'a', false],
    ['a/+', 'a/b/c', false],
    ['a/#', 'a', true],
    ['a/#', 'a/b/c', true],
    ['a/#', 'ab', false],
    ['#', 'a/b', true],
    ['#', '/', true],
    ['#', '$SYS/x', false],
    ['+/x', '$SYS/x', false],
    ['$SYS/#', '$SYS/x', true],
    ['+', '/', false],
    ['+/+', '/a', true],
    ['/+', '/a', true],
    ['a//b', 'a//b', true],
    ['a/+/b', 'a//b', true],
  ]
  for (const [filter, topic, expected] of rows) assert.equal(matches(filter, topic), expected, `${filter} ~ ${topic}`)
})

test('containment and overlap', () => {
  const rows: [one: string, other: string, contained: boolean, overlapping: boolean][] = [
    ['#', 'a/b', true, true],
    ['a/#', 'a', true, true],
    ['a/#', 'a/+/c', true, true],
    ['a/+', 'a/#', false, true],
    ['a/+', 'a/b', true, true],
    ['a/b', 'a/+', false, true],
    ['a/+', '+/b', false, true],
    ['a/+/c', 'a/b/#', false, true],
    ['a/b', 'a/c', false, false],
    ['a/+', 'a/b/c', false, false],
    ['#', '$SYS/#', false, false],
    ['+/x', '$SYS/x', false, false],
    ['a/+/#', 'a', false, false],
    ['a/#', '+', false, true],
  ]
  for (const [one, other, contained, overlapping] of rows) {
    assert.equal(contains(one, other), contained, `${one} contains ${other}`)
    assert.equal(overlaps(one, other), overlapping, `${one} overlaps ${other}`)
    assert.equal(overlaps(other, one), overlapping, `${other} overlaps ${one}`)
  }
})

const level = fc.constantFrom('a', 'b', '', '$x')
const topicOf = fc
  .array(level, { minLength: 1, maxLength: 4 })
  .map((levels) => levels.join('/'))
  .filter((topic) => topic !== '')
const filterOf = fc
  .tuple(fc.array(fc.constantFrom('a', 'b', '', '+', '$x'), { minLength: 1, maxLength: 3 }), fc.boolean())
  .map(([levels, many]) => [...levels, ...(many ? ['#'] : [])].join('/'))
  .filter((filter) => filter !== '')

test('containment and overlap agree with matching on every topic', () => {
  fc.assert(
    fc.property(filterOf, filterOf, topicOf, (one, other, topic) => {
      if (contains(one, other) && matches(other, topic)) assert.ok(matches(one, topic), `${one} ⊇ ${other} ~ ${topic}`)
      if (matches(one, topic) && matches(other, topic)) assert.ok(overlaps(one, other), `${one} ∩ ${other} ∋ ${topic}`)
    }),
    { numRuns: 5_000 },
  )
})

test('what is wrong with a topic or a filter is said', () => {
  for (const topic of ['', 'a\0', 'a/+', '#', 'x'.repeat(65_536)]) assert.ok(topicProblem(topic), topic.slice(0, 9))
  for (const topic of ['a', '/', 'a//b', 'ü/$x']) assert.equal(topicProblem(topic), undefined)
  for (const filter of ['', 'a/#/b', 'a+', 'a/b#', 'a\0']) assert.ok(filterProblem(filter), filter)
  for (const filter of ['#', '+', '+/a/#', '/', 'a/+/b']) assert.equal(filterProblem(filter), undefined)
})

test('shares are taken apart', () => {
  assert.deepEqual(parseShare('$share/g/a/+'), { group: 'g', filter: 'a/+' })
  assert.deepEqual(parseShare('$share/g//a'), { group: 'g', filter: '/a' })
  for (const filter of ['a/b', '$share/g', '$share//a', '$share/+/a', '$share/g/'])
    assert.equal(parseShare(filter), undefined, filter)
})

test('a topic or filter has at most 200 levels: brokers answer deeper ones by closing', () => {
  const deep = (levels: number) => Array.from({ length: levels }, () => 'x').join('/')
  for (const problem of [topicProblem, filterProblem]) {
    assert.equal(problem(deep(200)), undefined)
    assert.equal(problem('/'.repeat(199)), undefined)
    assert.match(problem(deep(201)) ?? '', /200 levels/)
    assert.match(problem('/'.repeat(200)) ?? '', /200 levels/)
  }
})
