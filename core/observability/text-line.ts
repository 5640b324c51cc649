const LEVEL_WIDTH = 5
const OMITTED = new Set(['level', 'time', 'msg', 'pid'])

/** One record as one line for people: time, level, sentence, facts. What JSON cannot parse is passed on as it is. */
export function textLine(json: string): string {
  let record: Record<string, unknown>
  try {
    record = JSON.parse(json) as Record<string, unknown>
  } catch {
    return json // not a record of ours; a line that cannot be read is better than none
  }
  const { time, level, msg } = record
  const facts = Object.entries(record)
    .filter(([key]) => !OMITTED.has(key))
    .map(([key, value]) => `${key}=${factText(value)}`)
  const head = `${String(time)} ${String(level).toUpperCase().padEnd(LEVEL_WIDTH)}`
  return `${[head, oneLine(msg === undefined ? '' : String(msg)), ...facts].filter((part) => part !== '').join(' ')}\n`
}

function factText(value: unknown): string {
  if (typeof value === 'string') return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value)
  return oneLine(JSON.stringify(value) ?? 'undefined')
}

/** Control characters in what a device or a client sent must neither start lines nor drive a terminal. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) => JSON.stringify(character).slice(1, -1))
}
