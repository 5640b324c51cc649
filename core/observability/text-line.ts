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
  if (isError(value)) return oneLine(JSON.stringify(errorText(value)))
  if (typeof value === 'string') return /^[^\s"=\p{Cc}]+$/u.test(value) ? value : oneLine(JSON.stringify(value))
  return oneLine(JSON.stringify(value) ?? 'undefined')
}

interface ErrorFacts {
  readonly message: string
  readonly code?: unknown
  readonly stack?: unknown
  readonly cause?: unknown
}

/** As a logger writes errors. */
function isError(value: unknown): value is ErrorFacts {
  return typeof value === 'object' && value !== null && 'message' in value && ('type' in value || 'code' in value)
}

/** What happened, in words; where it came from only where nobody foresaw it. */
function errorText({ message, code, stack, cause }: ErrorFacts): string {
  if (code === undefined) return typeof stack === 'string' ? stack : message
  const text = message.includes(String(code)) ? message : `${String(code)}: ${message}`
  return isError(cause) && !text.includes(cause.message) ? `${text}; ${errorText(cause)}` : text
}

/** Control characters in what a device or a client sent must neither start lines nor drive a terminal. */
function oneLine(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is replaced
  return text.replace(/[\u0000-\u001f\u007f-\u009f]/g, (character) =>
    character < ' ' ? JSON.stringify(character).slice(1, -1) : `\\u00${character.charCodeAt(0).toString(16)}`,
  )
}
