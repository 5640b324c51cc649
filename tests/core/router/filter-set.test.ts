import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { matches } from '../../../core/mqtt/topic.js'
import { canonicalFilter, FilterSet, overlaps } from '../../../core/router/filter-set.js'

const filterText = fc
  .tuple(
    fc.array(fc.constantFrom('a', 'b', '+', '$s', ''), { minLength: 1, maxLength: 4 }),
    fc.constantFrom('', '/#', '#'),
  )
  .map(([levels, end]) => (end === '#' ? '#' : levels.join('/') + end))
  .filter((text) => text !== '')

/**
 * Every topic of up to five levels over the letters of the filters, and one that stands for all others. Also the empty one:
 * nobody can publish on it, but `/#` and `+` both match it, and that there is none changes nothing anywhere.
 */
const topics: string[] = []
for (let depth = 1, level = ['']; depth <= 5; depth += 1) {
  level = level.flatMap((prefix) =>
    ['a', 'b', '$s', '', 'other'].map((part) => (depth === 1 ? part : `${prefix}/${part}`)),
  )
  topics.push(...level)
}

test('overlaps and containing say what trying all topics says (fast-check)', () => {
  fc.assert(
    fc.property(filterText, filterText, (one, other) => {
      const both = topics.filter((topic) => matches(one, topic) && matches(other, topic))
      assert.equal(overlaps(one, other), both.length > 0, `${one} and ${other} overlap`)
      const set = new FilterSet()
      set.add(canonicalFilter(other))
      assert.equal(set.overlaps(canonicalFilter(one)), both.length > 0, `${one} overlaps the set of ${other}`)
      if (canonicalFilter(one) === canonicalFilter(other)) return
      const narrower = topics.every((topic) => !matches(one, topic) || matches(other, topic))
      assert.equal(set.containing(canonicalFilter(one)).length === 1, narrower, `${other} contains ${one}`)
    }),
    { numRuns: 300 },
  )
})

test('of many filters all that contain one are found, and never itself', () => {
  const set = new FilterSet()
  for (const filter of ['#', 'a/#', 'a/+', '+/b', 'a/b', '$s/#', 'a/b/c']) set.add(filter)
  assert.deepEqual(set.containing('a/b').sort(), ['#', '+/b', 'a/#', 'a/+'])
  assert.deepEqual(set.containing('a/#'), ['#'])
  assert.deepEqual(set.containing('$s/x'), ['$s/#'])
  assert.deepEqual(set.containing('#'), [])
})
