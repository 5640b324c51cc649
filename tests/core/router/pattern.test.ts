import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { filterProblem } from '../../../core/mqtt/topic.js'
import { parsePattern } from '../../../core/router/pattern.js'

const filterOf = (text: string) => {
  const pattern = parsePattern(text)
  return typeof pattern === 'string' ? `refused: ${pattern}` : pattern.filter
}

test('a pattern becomes the filter that delivers what it may match', () => {
  assert.equal(filterOf('devices/{device_id}/control'), 'devices/+/control')
  assert.equal(filterOf('devices/{device_id:int}/registers/{address:int|hex}'), 'devices/+/registers/+')
  assert.equal(filterOf('a/{rest*}'), 'a/#')
  assert.equal(filterOf('a/+/b/#'), 'a/+/b/#')
  assert.equal(filterOf('/leading/slash'), '/leading/slash')
  assert.equal(filterOf('$SYS/broker/{what}'), '$SYS/broker/+')
})

test('parameters are listed in order, bare wildcards by position', () => {
  const pattern = parsePattern('{a}/+/{b:int}/+/#')
  assert.ok(typeof pattern !== 'string')
  assert.deepEqual(pattern.params, ['a', '0', 'b', '1', '2'])
})

test('what cannot be a pattern is refused with its reason', () => {
  const refused: [string, RegExp][] = [
    ['', /empty/],
    ['a/{id', /mixes a parameter with text/],
    ['a/x{id}', /mixes a parameter with text/],
    ['a/{id}/{id}', /"id" is named twice/],
    ['a/{}', /needs a name/],
    ['a/{1st}', /needs a name/],
    ['a/{__proto__}', /needs a name/],
    ['a/{rest*}/b', /may only stand at the end/],
    ['a/#/b', /may only stand at the end/],
    ['a/b+', /wildcard inside a level/],
    ['a/b#', /wildcard inside a level/],
    ['a/{id:sllug}', /no parameter type; did you mean/],
    ['a/{id:zzzzzzzz}', /no parameter type; known are int/],
    ['a/{id:int|holding}', /mixes types \(int\) with literal values/],
    ['a/{id:x|}', /empty alternative/],
    ['a/{id:x|x}', /twice/],
    ['a/{rest:int*}', /has no type/],
    ['a/\0', /NUL/],
    ['$share/group/a', /shared: true/],
    ['a'.repeat(70_000), /longer than 65535 bytes/],
  ]
  for (const [text, reason] of refused) {
    const outcome = parsePattern(text)
    assert.ok(typeof outcome === 'string', `${text} was accepted`)
    assert.match(outcome, reason)
  }
})

test('any text is either refused with a reason or gives a valid filter (fast-check)', () => {
  const piece = fc.oneof(
    fc.constantFrom('/', '{', '}', '*', ':', '|', '+', '#', 'int', 'a', '$share', '__proto__'),
    fc.string({ unit: 'binary', maxLength: 4 }),
  )
  fc.assert(
    fc.property(fc.array(piece, { maxLength: 12 }), (pieces) => {
      const text = pieces.join('')
      const pattern = parsePattern(text)
      if (typeof pattern === 'string') assert.notEqual(pattern, '')
      else assert.equal(filterProblem(pattern.filter), undefined, `${text} gave ${pattern.filter}`)
    }),
    { numRuns: 2_000 },
  )
})
