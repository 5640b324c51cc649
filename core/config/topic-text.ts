/** Whether a text is an MQTT filter (5.0, 4.7): `+` alone in its level, `#` alone in the last. */
export function isTopicFilter(filter: string): boolean {
  if (filter === '' || filter.includes('\0')) return false
  const levels = filter.split('/')
  return levels.every(
    (level, at) =>
      level === '+' || (level === '#' && at === levels.length - 1) || !(level.includes('+') || level.includes('#')),
  )
}
