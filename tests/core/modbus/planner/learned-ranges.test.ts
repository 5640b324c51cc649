import assert from 'node:assert/strict'
import { test } from 'node:test'
import { LearnedRanges } from '../../../../core/modbus/planner/learned-ranges.js'

const HOUR = 3_600_000
const two = [
  { address: 0, count: 2 },
  { address: 4, count: 2 },
]

test('three equal refusals in a row begin a search, another exception or an answer starts the count again', () => {
  const learned = new LearnedRanges()
  const refuse = (...exceptions: number[]) =>
    exceptions.map((exception) => learned.refused('holding', two, exception) !== undefined)
  assert.deepEqual(refuse(2, 2, 3, 2, 2), [false, false, false, false, false])
  learned.answered('holding', two)
  assert.deepEqual(refuse(2, 2), [false, false])
  learned.answered('input', two)
  assert.deepEqual(refuse(2, 2, 2), [true, false, false], 'one search at a time')
  learned.learn('holding', two, [], 0)
  assert.deepEqual(refuse(2, 2, 2), [false, false, true], 'one that was cut off begins anew')
})

test('a range by itself teaches nothing, however many want it', () => {
  const learned = new LearnedRanges()
  const same = [two[0]!, two[0]!]
  for (let nth = 0; nth < 5; nth += 1) assert.equal(learned.refused('coil', same, 2), undefined)
})

test('a lesson is given out once an hour to who reads its place, and is forgotten with all about that place', () => {
  const learned = new LearnedRanges()
  learned.learn('coil', two, [{ kind: 'apart', from: 1, to: 4 }], 500)
  learned.learn('coil', two, [{ kind: 'alone', from: 2, to: 3 }], 500)
  learned.learn('coil', two, [{ kind: 'alone', from: 9, to: 9 }], 500)
  const due = (now: number, address = 0) => learned.due('coil', { address, count: 2 }, now)
  assert.equal(due(500 + HOUR - 1), undefined)
  assert.equal(due(500 + HOUR, 5), undefined, 'another place')
  const lesson = due(500 + HOUR)!
  assert.deepEqual([lesson.from, lesson.to], [1, 4])
  assert.equal(due(500 + HOUR), undefined)
  const before = learned.version
  assert.deepEqual(
    learned.without(lesson).map(({ from }) => from),
    [9],
  )
  learned.forget(lesson)
  assert.deepEqual(
    learned.lessons.map(({ from }) => from),
    [9],
  )
  assert.notEqual(learned.version, before)
})

test('a range that was refused by itself is good again after as many answers in a row, and nothing else is', () => {
  const learned = new LearnedRanges()
  const [range] = two
  const lessons = () => learned.lessons.map(({ kind, from }) => [kind, from])
  learned.learn('holding', two, [{ kind: 'alone', from: 0, to: 1 }], 0)
  learned.learn('holding', two, [{ kind: 'apart', from: 1, to: 4 }], 0)
  const { version } = learned
  const answer = (type: 'holding' | 'input', wanted = [range!]) => learned.answered(type, wanted)
  for (let nth = 0; nth < 3; nth += 1) {
    answer('input')
    answer('holding', two)
    answer('holding', [two[1]!])
  }
  answer('holding')
  answer('holding')
  learned.refused('holding', [range!], 2)
  answer('holding')
  answer('holding')
  assert.equal(learned.version, version, 'a refusal begins the row anew')
  answer('holding')
  assert.deepEqual(lessons(), [['apart', 1]])
  assert.notEqual(learned.version, version)
})

test('a range that comes and goes is believed ever more slowly', () => {
  const learned = new LearnedRanges()
  const answersNeeded = () => {
    learned.learn('holding', two, [{ kind: 'alone', from: 0, to: 1 }], 0)
    let answers = 0
    for (; learned.lessons.length > 0; answers += 1) learned.answered('holding', [two[0]!])
    return answers
  }
  assert.deepEqual([answersNeeded(), answersNeeded(), answersNeeded()], [3, 24, 192])
})
