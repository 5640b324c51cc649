import assert from 'node:assert/strict'
import { test } from 'node:test'
import { csvColumn } from '../../../../core/modbus/server/csv-column.js'

test('columns of a CSV are found by name or number, and a line without a number is named', () => {
  const text = 'time,temp\n1,20.5\n2,21\n'
  assert.deepEqual(csvColumn(text, 'temp'), [20.5, 21])
  assert.deepEqual(csvColumn(text, 1), [20.5, 21])
  assert.deepEqual(csvColumn('3\n4\n'), [3, 4])
  assert.throws(() => csvColumn('a\n1\nx\n', 'a'), /line 3 .*"x"/)
  assert.throws(() => csvColumn(text, 'power'), /no column "power"/)
})

test('cells may be quoted, as spreadsheets and loggers write them', () => {
  const text = '\ufeff"time","note","kw"\r\n"10:00","from 3,4 to 5","1.5"\r\n"11:00","two\r\nlines","2.5"\r\n'
  assert.deepEqual(csvColumn(text, 'kw'), [1.5, 2.5])
  assert.deepEqual(csvColumn('kw;max\n1;2\n3;4\n', 'max'), [2, 4])
})

test('the line that is told is that of the file, empty ones counted', () => {
  assert.throws(() => csvColumn('kw\n\n1\n\nx\n', 'kw'), /line 5 .*"x"/)
  assert.throws(() => csvColumn('kw\n1\n"2\n', 'kw'), /line \d of the CSV: Quote Not Closed/)
  assert.throws(() => csvColumn('kw,max\n1,2\n3\n', 'max'), /line 3 .*""/)
})
