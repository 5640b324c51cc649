import { converter } from './constraints.js'
import { unescapeLevel } from './levels.js'
import { type PatternLevel, parsePattern } from './pattern.js'
import type { Dispatcher, Match, Route } from './route.js'

/**
 * What would run for a topic, and why routes of a similar shape would not: those that differ in one level, or in their
 * length alone.
 */
export function explainRoutes(
  routes: readonly Route[],
  topic: string,
  matches: readonly Match[],
): ReturnType<Dispatcher['explain']> {
  const running = new Set(matches.map(({ route }) => route))
  const matching = matches.map(({ route, params }) => ({
    route,
    matches: true,
    reason: `matches${showParams(params)}`,
  }))
  const others = routes.flatMap((route) => {
    if (running.has(route)) return []
    const pattern = parsePattern(route.pattern)
    const reason = typeof pattern === 'string' ? undefined : difference(pattern.levels, topic)
    return reason === undefined ? [] : [{ route, matches: false, reason }]
  })
  return [...matching, ...others]
}

function showParams(params: Match['params']): string {
  const shown = Object.entries(params).map(([name, value]) => `${name} = ${JSON.stringify(value)}`)
  return shown.length === 0 ? '' : `: ${shown.join(', ')}`
}

/** Undefined where the two have little in common. */
function difference(levels: readonly PatternLevel[], topic: string): string | undefined {
  const parts = topic.split('/')
  if (topic.startsWith('$') && levels[0]?.kind !== 'literal') {
    return 'a leading parameter or wildcard does not match topics that begin with $'
  }
  const reasons: string[] = []
  for (const [at, level] of levels.entries()) {
    if (level.kind === 'rest') return reasons.length === 1 ? reasons[0] : undefined
    const part = parts[at]
    if (part === undefined) break
    const reason = misfit(level, part)
    if (reason !== undefined) reasons.push(`level ${at + 1} ${reason}`)
  }
  if (levels.length !== parts.length) {
    const wanted = levels.at(-1)?.kind === 'rest' ? `at least ${levels.length - 1}` : levels.length
    return reasons.length === 0 && Math.abs(levels.length - parts.length) <= 1
      ? `the topic has ${parts.length} levels, the pattern ${wanted}`
      : undefined
  }
  return reasons.length === 1 ? reasons[0] : undefined
}

function misfit(level: Exclude<PatternLevel, { kind: 'rest' }>, part: string): string | undefined {
  if (level.kind === 'plus') return undefined
  if (level.kind === 'literal')
    return level.text === part ? undefined : `is "${part}", the pattern says "${level.text}"`
  if (part === '') return `is empty, {${level.name}} needs a value`
  if (level.constraint === undefined || converter(level.constraint)(unescapeLevel(part)) !== undefined) return undefined
  const wanted = level.constraint.kind === 'types' ? level.constraint.types : level.constraint.values
  return `is "${part}", {${level.name}} wants ${wanted.join(' or ')}`
}
