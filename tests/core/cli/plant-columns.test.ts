import assert from 'node:assert/strict'
import { test } from 'node:test'
import { cellValue } from '../../../core/cli/plant-file/columns.js'

const said = (column: string, cell: string) => {
  const value = cellValue(column, cell)
  return value instanceof Error ? value.message : value
}

test('separators at the end of raw values make none of them 0', () => {
  assert.deepEqual(said('invalid', '32768;65535;'), [32_768, 65_535])
  assert.deepEqual(said('invalid', ';; 7 ; -1'), [7, -1])
  assert.deepEqual(said('invalid', ';'), [])
  assert.deepEqual(said('invalid', '18446744073709551615;1'), ['18446744073709551615', 1])
  assert.equal(said('invalid', '7;x'), 'invalid: "x" is no number')
})

test('an enumeration has a name and a number each', () => {
  assert.deepEqual(said('enum', 'off=0;heat = 1;'), { off: 0, heat: 1 })
  assert.deepEqual(said('enum', 'a=b=3; two words =-2'), { 'a=b': 3, 'two words': -2 })
  for (const wrong of ['heat=', '=1', 'heat', 'heat=x']) {
    assert.equal(said('enum', `off=0;${wrong}`), `enum: "${wrong}" is no name with a number, as off=0`)
  }
  assert.equal(said('enum', 'off=0;off=1'), 'enum: "off" stands there twice')
})
