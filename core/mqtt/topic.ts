/** MQTT topic names and filters (MQTT 5.0, 4.7) as plain functions over strings. */

/** Longest topic or filter in bytes of UTF-8 (5.0, 1.5.4). */
const MAX_TOPIC_BYTES = 65_535
/** Brokers have a bound of their own (mosquitto: 200) and answer what is deeper by closing the connection. */
const MAX_LEVELS = 200

/** What is wrong with a topic name to publish on, or undefined when nothing is. */
export function topicProblem(topic: string): string | undefined {
  const common = commonProblem(topic)
  if (common !== undefined) return common
  return /[+#]/.test(topic) ? 'a topic to publish on holds no wildcard' : undefined
}

/** What is wrong with a topic filter (without a share prefix), or undefined when nothing is. */
export function filterProblem(filter: string): string | undefined {
  const common = commonProblem(filter)
  if (common !== undefined) return common
  const levels = filter.split('/')
  for (const [index, level] of levels.entries()) {
    if (level === '+') continue
    if (level === '#') {
      if (index !== levels.length - 1) return '"#" may only be the last level'
    } else if (/[+#]/.test(level)) {
      return `the wildcard in level "${level}" does not stand alone`
    }
  }
  return undefined
}

function commonProblem(text: string): string | undefined {
  if (text.length === 0) return 'it is empty'
  if (text.includes('\0')) return 'it holds a NUL character'
  if (Buffer.byteLength(text) > MAX_TOPIC_BYTES) return `it is longer than ${MAX_TOPIC_BYTES} bytes`
  return hasMoreLevels(text) ? `it has more than ${MAX_LEVELS} levels` : undefined
}

function hasMoreLevels(text: string): boolean {
  if (text.length < MAX_LEVELS) return false
  let levels = 1
  for (let at = text.indexOf('/'); at >= 0; at = text.indexOf('/', at + 1)) levels += 1
  return levels > MAX_LEVELS
}

/** `$share/<group>/<filter>` taken apart; undefined for a plain filter or a malformed share. */
export function parseShare(filter: string): { readonly group: string; readonly filter: string } | undefined {
  if (!filter.startsWith('$share/')) return undefined
  const end = filter.indexOf('/', 7)
  if (end < 0) return undefined
  const group = filter.slice(7, end)
  const rest = filter.slice(end + 1)
  return group.length === 0 || /[+#]/.test(group) || rest.length === 0 ? undefined : { group, filter: rest }
}

/** Whether a topic matches a filter. A filter that starts with a wildcard matches no topic that starts with `$`. */
export function matches(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && (filter.startsWith('+') || filter.startsWith('#'))) return false
  const wanted = filter.split('/')
  const levels = topic.split('/')
  for (const [index, level] of wanted.entries()) {
    if (level === '#') return true
    if (index >= levels.length) return false
    if (level !== '+' && level !== levels[index]) return false
  }
  return wanted.length === levels.length
}

/** Whether every topic that `inner` matches is matched by `outer` too. */
export function contains(outer: string, inner: string): boolean {
  if (inner.startsWith('$') && (outer.startsWith('+') || outer.startsWith('#'))) return false
  const wide = outer.split('/')
  const narrow = inner.split('/')
  for (const [index, level] of wide.entries()) {
    if (level === '#') return true
    const other = narrow[index]
    if (other === undefined || other === '#') return false
    if (level !== '+' && level !== other) return false
  }
  return wide.length === narrow.length
}

/** Whether some topic matches both filters. */
export function overlaps(one: string, other: string): boolean {
  const wildcard = (filter: string) => filter.startsWith('+') || filter.startsWith('#')
  if ((one.startsWith('$') && wildcard(other)) || (other.startsWith('$') && wildcard(one))) return false
  const left = one.split('/')
  const right = other.split('/')
  for (let index = 0; ; index += 1) {
    const a = left[index]
    const b = right[index]
    if (a === '#' || b === '#') return true // "#" also stands for its parent level (5.0, 4.7.1.2)
    if (a === undefined || b === undefined) return a === b
    if (a !== '+' && b !== '+' && a !== b) return false
  }
}
