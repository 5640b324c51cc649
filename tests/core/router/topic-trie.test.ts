import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Router } from '../../../core/router/router.js'

/** The patterns as routes, in order; a match shows as `pattern params`. */
function matcher(...patterns: string[]) {
  const router = new Router()
  for (const [index, pattern] of patterns.entries()) router.on(pattern, () => {}, { name: String(index) })
  const dispatcher = router.commit()
  return {
    patterns: (topic: string) => dispatcher.match(topic).map(({ route }) => route.pattern),
    params: (topic: string) => dispatcher.match(topic).map(({ params }) => ({ ...params })),
  }
}

test('every matching pattern is found once, the most specific first', () => {
  const { patterns } = matcher('#', 'a/#', 'a/+', 'a/{x}', 'a/{x:int}', 'a/{x:7|8}', 'a/7', '{y}/7', 'a/{rest*}')
  assert.deepEqual(patterns('a/7'), ['a/7', 'a/{x:7|8}', 'a/{x:int}', 'a/{x}', 'a/+', 'a/#', 'a/{rest*}', '{y}/7', '#'])
  assert.deepEqual(patterns('a/9'), ['a/{x:int}', 'a/{x}', 'a/+', 'a/#', 'a/{rest*}', '#'])
  assert.deepEqual(patterns('b/7'), ['{y}/7', '#'])
  assert.deepEqual(patterns('b'), ['#'])
})

test('equally specific patterns come in the order they were registered', () => {
  const { patterns } = matcher('a/{second}', 'a/{first}', 'b')
  assert.deepEqual(patterns('a/x'), ['a/{second}', 'a/{first}'])
})

test('parameters are checked and converted', () => {
  const uuid = '0b9c1f6e-7a3d-4c55-9a51-0d2f3a4b5c6d'
  const cases: [string, string, unknown][] = [
    ['int', '42', 42],
    ['int', '-7', -7],
    ['int', '007', 7],
    ['int', '-0', 0],
    ['int', '9007199254740993', undefined],
    ['int', '1.5', undefined],
    ['int', '1e3', undefined],
    ['int', '0x10', undefined],
    ['int', ' 1', undefined],
    ['number', '1.5', 1.5],
    ['number', '-2e3', -2000],
    ['number', '1e999', undefined],
    ['number', 'NaN', undefined],
    ['number', '.5', undefined],
    ['bool', 'true', true],
    ['bool', 'false', false],
    ['bool', '1', undefined],
    ['uuid', uuid, uuid],
    ['uuid', 'nope', undefined],
    ['slug', 'line-a-2', 'line-a-2'],
    ['slug', 'Line', undefined],
    ['slug', 'a--b', undefined],
    ['alpha', 'abc', 'abc'],
    ['alpha', 'a1', undefined],
    ['alnum', 'a1', 'a1'],
    ['hex', 'fF09', 'fF09'],
    ['hex', 'g', undefined],
    ['holding|input', 'input', 'input'],
    ['holding|input', 'coil', undefined],
    ['int|uuid', '12', 12],
    ['int|uuid', uuid, uuid],
  ]
  for (const [constraint, level, expected] of cases) {
    const found = matcher(`a/{value:${constraint}}`).params(`a/${level}`)
    assert.deepEqual(found, expected === undefined ? [] : [{ value: expected }], `${constraint} ${level}`)
  }
})

test('the rest of a topic may be several levels, one or none', () => {
  const { params } = matcher('a/{rest*}')
  assert.deepEqual(params('a/b/c'), [{ rest: 'b/c' }])
  assert.deepEqual(params('a/'), [{ rest: '' }])
  assert.deepEqual(params('a'), [{ rest: '' }])
  assert.deepEqual(params('ab'), [])
})

test('a named parameter needs a value, a bare + takes an empty level as MQTT does', () => {
  assert.deepEqual(matcher('a/{x}/b', 'a/+/b').patterns('a//b'), ['a/+/b'])
  assert.deepEqual(matcher('/{x}', '+/{y}').params('/v'), [{ x: 'v' }, { 0: '', y: 'v' }])
})

test('topics that begin with $ are not matched by leading wildcards (MQTT 5.0, 4.7.2)', () => {
  const { patterns } = matcher('#', '+/broker', '{a}/broker', '{rest*}', '$SYS/broker', '$SYS/#', 'x/+')
  assert.deepEqual(patterns('$SYS/broker'), ['$SYS/broker', '$SYS/#'])
  assert.deepEqual(patterns('x/$y'), ['x/+', '#', '{rest*}'])
})

test('an escaped level gives its value back, and only our own escapes are undone', () => {
  const router = new Router()
  const route = router.on('a/{id}/z', () => {})
  const dispatcher = router.commit()
  for (const id of ['x/y', '+', '#', '50%', '50%25', '%2F', '%zz', 'ü', '__proto__', ' ', '%2', '25%2f']) {
    const topic = route.topic({ id })
    assert.equal(topic.split('/').length, 3)
    assert.doesNotMatch(topic, /[+#]/)
    assert.deepEqual(dispatcher.match(topic)[0]!.params, { id })
  }
  assert.deepEqual(dispatcher.match('a/100%/z')[0]!.params, { id: '100%' })
})

test('names and levels such as __proto__ and constructor are plain text', () => {
  const { params, patterns } = matcher('a/{constructor}/{toString}', '__proto__/{x}', 'hasOwnProperty')
  assert.deepEqual(params('a/__proto__/constructor'), [{ constructor: '__proto__', toString: 'constructor' }])
  assert.deepEqual(patterns('__proto__/y'), ['__proto__/{x}'])
  assert.deepEqual(patterns('constructor'), [])
  assert.deepEqual(patterns('toString/valueOf'), [])
  assert.equal(({} as Record<string, unknown>).x, undefined)
})

test('params are own properties of a plain object, one object a match', () => {
  const router = new Router()
  router.on('a/{x}', () => {})
  router.on('a/{y}', () => {})
  const [first, second] = router.commit().match('a/1')
  assert.deepEqual([first!.params, second!.params], [{ x: '1' }, { y: '1' }])
})

test('a topic of 32,000 levels and one of 65,000 characters are matched without harm', () => {
  const { patterns } = matcher('#', 'a/#', '+/+/+', '{x}')
  assert.deepEqual(patterns(`a${'/a'.repeat(32_000)}`), ['a/#', '#'])
  assert.deepEqual(patterns('x'.repeat(65_000)), ['{x}', '#'])
})

test('a million distinct topics leave nothing behind', () => {
  const { patterns } = matcher('a/{x}', 'a/{x:int}', 'b/#')
  const grown = (from: number) => {
    for (let n = from; n < from + 500_000; n += 1) patterns(n % 2 === 0 ? `a/k${n}` : `b/${n}/c`)
    global.gc?.()
    return process.memoryUsage().heapUsed
  }
  const first = grown(0)
  const second = grown(500_000)
  // 500,000 remembered topics would be 50 MB and more; what is left over is garbage not yet collected.
  assert.ok(second - first < 30 * 2 ** 20, `heap grew by ${((second - first) / 2 ** 20).toFixed(1)} MB`)
})

// A slow, obviously right matcher to compare with.
function naive(pattern: string, topic: string): boolean {
  const levels = pattern.split('/')
  const parts = topic.split('/')
  if (topic.startsWith('$') && /^[+#{]/.test(pattern)) return false
  const rest = levels.at(-1) === '#' || levels.at(-1)!.endsWith('*}')
  const fixed = rest ? levels.slice(0, -1) : levels
  if (rest ? parts.length < fixed.length : parts.length !== fixed.length) return false
  return fixed.every((level, at) => {
    const part = parts[at]!
    if (level === '+') return true
    if (level.endsWith(':int}')) return /^-?\d{1,15}$/.test(part)
    if (level.endsWith(':x|y}')) return part === 'x' || part === 'y'
    if (level.startsWith('{')) return part !== ''
    return level === part
  })
}

const level = fc.constantFrom('a', 'b', 'x', '1', '22', '', '$s', '__proto__')
const topics = fc.array(level, { minLength: 1, maxLength: 5 }).map((levels) => levels.join('/'))
const patternTexts = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', 'x', '1', '$s', '__proto__', '+', 'P', 'I', 'V'), {
      minLength: 1,
      maxLength: 4,
    }),
    fc.constantFrom('', '/#', '/{rest*}'),
  )
  .map(([levels, end]) => {
    const named = levels.map((text, at) => {
      if (text === 'P') return `{p${at}}`
      if (text === 'I') return `{i${at}:int}`
      return text === 'V' ? `{v${at}:x|y}` : text
    })
    return named.join('/') + end
  })
  .filter((text) => text !== '')

test('random patterns and topics: exactly what a naive matcher finds (fast-check)', () => {
  fc.assert(
    fc.property(
      fc.array(patternTexts, { minLength: 1, maxLength: 12 }),
      fc.array(topics, { maxLength: 8 }),
      (texts, all) => {
        const { patterns } = matcher(...texts)
        for (const topic of all) {
          const expected = texts.filter((text) => naive(text, topic))
          assert.deepEqual([...patterns(topic)].sort(), expected.sort())
        }
      },
    ),
    { numRuns: 400 },
  )
})

test('any text is a topic that can be matched and explained without a throw (fast-check)', () => {
  const router = new Router()
  for (const text of ['{a}/{b:int}/#', '+/x', '{n:number}', '{rest*}', 'a/{k:x|y}']) router.on(text, () => {})
  const dispatcher = router.commit()
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (topic) => {
      const matched = dispatcher.match(topic)
      assert.equal(new Set(matched.map(({ route }) => route)).size, matched.length)
      assert.equal(dispatcher.explain(topic).filter(({ matches }) => matches).length, matched.length)
    }),
    { numRuns: 1_000 },
  )
})

test('what topic() builds, match() takes apart again (fast-check)', () => {
  const router = new Router()
  const ref = router.on('a/{id}/{n:int}/{rest*}', () => {})
  const dispatcher = router.commit()
  const level = fc.string({
    unit: fc.constantFrom('a', '%', '2', 'F', 'f', 'b', '/', '+', '#', 'é', '\u{1f600}', ' '),
    minLength: 1,
  })
  fc.assert(
    fc.property(
      level,
      fc.maxSafeInteger(),
      fc.array(
        level.map((text) => text.replaceAll('/', '')),
        { maxLength: 3 },
      ),
      (id, n, rest) => {
        const params = { id, n, rest: rest.join('/') }
        const topic = ref.topic(params)
        assert.doesNotMatch(topic, /[+#]/)
        assert.deepEqual(
          dispatcher.match(topic).map((match) => match.params),
          [params],
        )
      },
    ),
    { numRuns: 1_000 },
  )
})
