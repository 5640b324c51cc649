import type { ParamValue } from './context.js'
import { unescapeLevel } from './levels.js'
import { paramsMaker } from './params-maker.js'
import type { Pattern, PatternLevel } from './pattern.js'
import type { Match, Route } from './route.js'
import { insert, type Leaf, Tail, TrieNode } from './trie-node.js'

const NOTHING: readonly Match[] = Object.freeze([])
const DOLLAR = 36
const SLASH = 47

/**
 * Finds every pattern that matches a topic. The walk visits only branches that fit the topic, so its cost depends on the
 * depth of the topic and the number of matches, not on the number of routes. Nothing is remembered between calls: a
 * million distinct topics cost no memory.
 *
 * The most specific comes first: level by level from the left, a literal before a list of values, a type, `{name}`, `+`
 * and the rest; equals in the order they were added.
 */
export class TopicTrie {
  readonly #root = new TrieNode()
  readonly #literals = new Map<string, PatternLevel>()
  /** Values of the levels on the way, reused from call to call; a match copies what it needs. */
  readonly #values: ParamValue[] = []

  add(pattern: Pattern, route: Route): void {
    const levels = pattern.levels.map((level) => this.#shared(level))
    insert(this.#root, levels, 0, { route, makeParams: paramsMaker(pattern.params) })
  }

  /** One copy of a literal for all patterns: lookups then compare with a text that the processor has at hand. */
  #shared(level: PatternLevel): PatternLevel {
    if (level.kind !== 'literal') return level
    const known = this.#literals.get(level.text)
    if (known === undefined) this.#literals.set(level.text, level)
    return known ?? level
  }

  match(topic: string): readonly Match[] {
    const found: Match[] = []
    // Topics of the broker are not matched by a leading wildcard (MQTT 5.0, 4.7.2).
    const hidden = topic.charCodeAt(0) === DOLLAR
    walk(this.#root, topic, 0, hidden, this.#values, 0, found)
    return found.length === 0 ? NOTHING : found
  }
}

/**
 * `start` is where the next level begins, beyond the end of the topic when there is none. `depth` values have been found
 * on the way; what lies behind them in `values` is left from other branches.
 */
function walk(
  node: TrieNode,
  topic: string,
  start: number,
  hidden: boolean,
  values: ParamValue[],
  depth: number,
  found: Match[],
): void {
  if (start > topic.length) {
    if (node.leaves !== undefined) collect(node.leaves, values, found)
    if (node.rests !== undefined) collectRest(node.rests, '', values, depth, found)
    return
  }
  const slash = topic.indexOf('/', start)
  const end = slash < 0 ? topic.length : slash
  const level = topic.slice(start, end)
  const literal = node.literals?.get(level)
  if (literal !== undefined) {
    if (literal instanceof Tail) walkTail(literal, topic, end + 1, values, depth, found)
    else walk(literal, topic, end + 1, false, values, depth, found)
  }
  if (hidden || !node.branches) return
  const text = unescapeLevel(level)
  if (text !== '') walkParams(node, topic, end + 1, text, values, depth, found)
  if (node.plus !== undefined) {
    values[depth] = text
    walk(node.plus, topic, end + 1, false, values, depth + 1, found)
  }
  if (node.rests !== undefined) collectRest(node.rests, topic.slice(start), values, depth, found)
}

function walkParams(
  node: TrieNode,
  topic: string,
  next: number,
  text: string,
  values: ParamValue[],
  depth: number,
  found: Match[],
): void {
  const listed = node.byValue?.get(text)
  if (listed !== undefined) {
    for (const branch of listed) {
      values[depth] = text
      walk(branch.node, topic, next, false, values, depth + 1, found)
    }
  }
  if (node.byType !== undefined) {
    for (const branch of node.byType) {
      const value = branch.convert(text)
      if (value === undefined) continue
      values[depth] = value
      walk(branch.node, topic, next, false, values, depth + 1, found)
    }
  }
  if (node.param !== undefined) {
    values[depth] = text
    walk(node.param, topic, next, false, values, depth + 1, found)
  }
}

function walkTail(
  tail: Tail,
  topic: string,
  from: number,
  values: ParamValue[],
  outerDepth: number,
  found: Match[],
): void {
  let start = from
  let depth = outerDepth
  for (let index = 0; ; index += 1) {
    const check = tail.check(index)
    if (check === undefined) break
    if (start > topic.length) return
    if (typeof check === 'string') {
      const end = start + check.length
      if (!topic.startsWith(check, start) || (end < topic.length && topic.charCodeAt(end) !== SLASH)) return
      start = end + 1
      continue
    }
    const slash = topic.indexOf('/', start)
    const end = slash < 0 ? topic.length : slash
    const value = check(unescapeLevel(topic.slice(start, end)))
    if (value === undefined) return
    values[depth] = value
    depth += 1
    start = end + 1
  }
  // Levels are left over, and nothing takes them.
  if (start <= topic.length && !tail.rest) return
  if (tail.rest) values[depth] = start > topic.length ? '' : unescapeLevel(topic.slice(start))
  found.push({ route: tail.route, params: tail.makeParams(values) })
}

function collect(leaves: readonly Leaf[], values: readonly ParamValue[], found: Match[]): void {
  for (const { route, makeParams } of leaves) found.push({ route, params: makeParams(values) })
}

function collectRest(leaves: readonly Leaf[], rest: string, values: ParamValue[], depth: number, found: Match[]): void {
  values[depth] = unescapeLevel(rest)
  collect(leaves, values, found)
}
