import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type RetainedStore, RetainedTopics } from '../../../core/poller/retained-topics.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { until } from './poller-harness.js'

/** A store that remembers, and whose broker holds what the test says. */
class Store implements RetainedStore {
  before: string[]
  /** Of earlier lives, and nobody else's. */
  readonly holds = new Set<string>()
  isAway = false
  asked: string[][] = []

  constructor(...before: string[]) {
    this.before = before
  }

  async save(topics: Iterable<string>) {
    this.before = [...topics]
  }

  async ours(topics: readonly string[]) {
    this.asked.push([...topics])
    if (this.isAway) throw new Error('away')
    return new Set(topics.filter((topic) => this.holds.has(topic)))
  }
}

function life(store: Store, { isTaken = true } = {}) {
  const cleared: string[] = []
  const clock = new FakeClock()
  const publish = async (topic: string) => {
    cleared.push(topic)
    return isTaken
  }
  return { cleared, clock, topics: new RetainedTopics({ publish, store, clock }) }
}

const set = (...topics: string[]) => new Set(topics)

test('what nothing publishes to any more is cleared and forgotten, what is published to is remembered', async () => {
  const store = new Store()
  const { topics, cleared } = life(store)
  topics.want(set('a', 'b'), true)
  topics.start()
  await topics.noted
  assert.deepEqual(store.before, ['a', 'b'], 'before the first value goes out')
  topics.want(set('b', 'c'), true)
  await until(() => store.before.join() === 'b,c')
  assert.deepEqual([cleared, store.asked], [['a'], []])
})

test('after a start only what was this installation’s, and nobody’s since, is cleared', async () => {
  const store = new Store('gone', 'of another now', 'stays')
  store.holds.add('gone').add('stays')
  const { topics, cleared } = life(store)
  topics.want(set('stays', 'new'), true)
  topics.start()
  await until(() => store.before.length === 2)
  assert.deepEqual([cleared, store.before.sort()], [['gone'], ['new', 'stays']])
  assert.deepEqual(store.asked, [['gone', 'of another now']])
})

test('while not all devices are known nothing is cleared, nor what stands in for them taken for ours', async () => {
  const store = new Store('unit7')
  const { topics, cleared } = life(store)
  topics.want(set('unit7', 'of the file'), false)
  topics.want(set('unit8'), true)
  topics.start()
  await until(() => store.before.join() === 'unit8')
  assert.deepEqual([cleared, store.asked], [[], [['unit7']]], 'the file named a device that is another’s')

  const away = new Store('unit7')
  const second = life(away)
  second.topics.want(set('of the file'), false)
  second.topics.start()
  await second.topics.noted
  assert.deepEqual([second.cleared, away.asked], [[], []])
  second.topics.want(set('unit7'), true)
  await until(() => away.before.join() === 'unit7')
  assert.deepEqual([second.cleared, away.asked], [['of the file'], []])
})

test('what the broker has not taken yet, or cannot be asked about, is remembered and tried again', async () => {
  const store = new Store('old')
  store.holds.add('old')
  store.isAway = true
  const first = life(store, { isTaken: false })
  first.topics.want(set('a'), true)
  first.topics.start()
  await until(() => store.asked.length === 1)
  store.isAway = false
  await first.clock.advance(30_000)
  await until(() => first.cleared.includes('old'))
  await first.topics.noted
  first.topics.want(set(), true)
  assert.deepEqual(store.before.sort(), ['a', 'old'])

  store.holds.add('a')
  const second = life(store)
  second.topics.start()
  assert.deepEqual(store.asked.length, 2, 'nothing is known of what there is')
  second.topics.want(set(), true)
  await until(() => store.before.length === 0)
  assert.deepEqual(second.cleared.sort(), ['a', 'old'])
})
