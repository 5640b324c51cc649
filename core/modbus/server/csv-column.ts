import { csvRows } from '../csv-rows.js'

/** The values of one column of a CSV text, for a replay. @throws RangeError naming the line that is no number */
export function csvColumn(text: string, column: number | string = 0): number[] {
  const rows = csvRows(text)
  if ('message' in rows) throw new RangeError(`line ${rows.line} of the CSV: ${rows.message}`)
  const [head, ...body] = rows
  if (head === undefined) return []
  const at = typeof column === 'number' ? column : head.cells.indexOf(column.trim())
  if (at < 0) throw new RangeError(`the CSV has no column "${column}", only ${head.cells.join(', ')}`)
  const isHeading = typeof column === 'string' || Number.isNaN(Number(head.cells[at]))
  return (isHeading ? body : rows).map(({ line, cells }) => {
    const cell = cells[at] ?? ''
    const value = Number(cell)
    if (cell === '' || !Number.isFinite(value)) {
      throw new RangeError(`line ${line} of the CSV has no number in column ${at}: "${cell}"`)
    }
    return value
  })
}
