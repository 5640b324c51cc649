import { createRequire } from 'node:module'
import type * as csvParse from 'csv-parse/sync'

export interface CsvRow {
  /** Where it begins: a quoted cell may hold lines of its own. */
  readonly line: number
  readonly cells: readonly string[]
}

/** Why a text is no CSV. */
export interface CsvMistake {
  readonly line: number
  readonly message: string
}

/** The rows of a CSV, header first, without empty ones; a mistake where the text is none. `,` or `;` between the cells. */
export function csvRows(text: string): readonly CsvRow[] | CsvMistake {
  // Loaded only where there is one: a library takes time and memory of every start.
  const { parse } = createRequire(import.meta.url)('csv-parse/sync') as typeof csvParse
  const bytes = Buffer.from(text.replace(/^\ufeff/, ''))
  const firstLine = text.split('\n', 1)[0] ?? ''
  const lineOf = lineCounter(bytes)
  try {
    const rows = parse(bytes, {
      info: true,
      delimiter: firstLine.includes(';') && !firstLine.includes(',') ? ';' : ',',
      relax_column_count: true,
      skip_empty_lines: true,
      // Spreadsheets leave rows of separators behind.
      skip_records_with_empty_values: true,
      trim: true,
    }) as unknown as { record: string[]; info: { bytes: number } }[]
    // The parser counts lines too, but CRLF within quotes twice: all that follows would be told at other lines.
    return rows.map(({ record, info }) => ({ cells: record, line: lineOf(info.bytes - 1) - breaksIn(record) }))
  } catch (error) {
    const { bytes: at = 0, message } = error as Error & { bytes?: number }
    return { line: lineOf(at), message: message.replace(/ at line \d+/, '') }
  }
}

function breaksIn(cells: readonly string[]): number {
  return cells.reduce((breaks, cell) => breaks + (cell.match(/\r\n|\r|\n/g)?.length ?? 0), 0)
}

/** Tells the line, from 1, that a byte is in; asked in ascending order. */
function lineCounter(bytes: Buffer): (offset: number) => number {
  const [LF, CR] = [0x0a, 0x0d]
  let [line, at] = [1, 0]
  return (offset) => {
    for (; at < offset; at += 1) {
      if (bytes[at] === LF || (bytes[at] === CR && bytes[at + 1] !== LF)) line += 1
    }
    return line
  }
}
