import type { ReadingFilter, ReadingPage, ReadingQuery } from './query.js'
import type { ReadingRecord } from './reading.js'

const HEADER = 'time,device_id,point,value,unit,quality,reason\n'

/** A page a chunk: the whole is never in memory, and a slow taker slows the reading down. */
export async function* csvRows(
  page: (query: ReadingQuery) => Promise<ReadingPage>,
  filter: ReadingFilter,
): AsyncGenerator<string> {
  yield HEADER
  let cursor: string | null | undefined
  do {
    const { readings, next } = await page({ ...filter, limit: 1_000, ...(cursor == null ? {} : { cursor }) })
    if (readings.length > 0) yield readings.map(line).join('')
    cursor = next
  } while (cursor !== null)
}

function line(reading: ReadingRecord): string {
  const { time, device_id, point, value, unit, quality, reason } = reading
  const text = Array.isArray(value) ? JSON.stringify(value) : value === null ? '' : String(value)
  return `${[time, device_id, point, text, unit ?? '', quality, reason ?? ''].map(field).join(',')}\n`
}

/** RFC 4180. Text that a spreadsheet would run as a formula is led by an apostrophe. */
function field(text: string): string {
  const safe = /^[=+@\t\r]/.test(text) || (text.startsWith('-') && Number.isNaN(Number(text))) ? `'${text}` : text
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe
}
