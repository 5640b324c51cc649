import { type Convert, constraintKey, converter } from './constraints.js'
import type { MakeParams } from './params-maker.js'
import type { PatternLevel } from './pattern.js'
import type { Route } from './route.js'

/** A route that ends here, and how the values collected on the way become its parameters. */
export interface Leaf {
  readonly route: Route
  readonly makeParams: MakeParams
}

/** Text of a literal, or what checks and converts any other level. */
type Check = string | Convert

const NONE: readonly Check[] = Object.freeze([])

/** A branch for one constraint. */
interface Typed {
  readonly key: string
  readonly convert: Convert
  readonly node: TrieNode
}

/**
 * The only pattern below a literal, compared level by level instead of walked: most of a large tree is such ends, and one
 * object instead of one a level keeps them in the processor's cache (benchmarks/cases/matching.ts).
 */
export class Tail implements Leaf {
  // What a match looks at comes first, and without an array around it: at ten thousand routes each object is a cache miss.
  readonly first: Check | undefined
  readonly second: Check | undefined
  readonly third: Check | undefined
  readonly further: readonly Check[]
  readonly rest: boolean
  readonly makeParams: MakeParams
  readonly route: Route
  readonly levels: readonly PatternLevel[]
  /** Index of the level it begins with. */
  readonly at: number

  constructor(levels: readonly PatternLevel[], at: number, leaf: Leaf) {
    this.rest = levels.at(-1)?.kind === 'rest'
    const [first, second, third, ...further] = levels.slice(at, this.rest ? -1 : undefined).map(checkOf)
    this.first = first
    this.second = second
    this.third = third
    this.further = further.length === 0 ? NONE : further
    this.makeParams = leaf.makeParams
    this.route = leaf.route
    this.levels = levels
    this.at = at
  }

  /** What level `index` below the literal must be; undefined behind the last. */
  check(index: number): Check | undefined {
    if (index === 0) return this.first
    if (index === 1) return this.second
    return index === 2 ? this.third : this.further[index - 3]
  }
}

export class TrieNode {
  literals: Map<string, TrieNode | Tail> | undefined = undefined
  /** Branches for parameter types: few, tried one after another. */
  byType: Typed[] | undefined = undefined
  /** Branches for lists of values, by value, so that many lists cost no more than one. */
  byValue: Map<string, Typed[]> | undefined = undefined
  /** `{name}`: any level but an empty one. */
  param: TrieNode | undefined = undefined
  /** `+`: any level. */
  plus: TrieNode | undefined = undefined
  leaves: Leaf[] | undefined = undefined
  /** `{rest*}` and `#`: this level and everything below, also nothing. */
  rests: Leaf[] | undefined = undefined
  /** Whether anything but literals and leaves hangs here; spares the plain case the checks. */
  branches = false
}

/** Hangs a pattern, from level `at` on, below a node. */
export function insert(node: TrieNode, levels: readonly PatternLevel[], at: number, leaf: Leaf): void {
  const level = levels[at]
  if (level === undefined) {
    node.leaves ??= []
    node.leaves.push(leaf)
  } else if (level.kind === 'rest') {
    node.branches = true
    node.rests ??= []
    node.rests.push(leaf)
  } else if (level.kind === 'literal') {
    insertLiteral(node, level.text, levels, at + 1, leaf)
  } else {
    insert(branchFor(node, level), levels, at + 1, leaf)
  }
}

/** The first pattern below a literal is kept as a tail; the second turns it into a node. */
function insertLiteral(parent: TrieNode, text: string, levels: readonly PatternLevel[], at: number, leaf: Leaf): void {
  parent.literals ??= new Map()
  const child = parent.literals.get(text)
  if (child === undefined) {
    parent.literals.set(text, new Tail(levels, at, leaf))
    return
  }
  let node: TrieNode
  if (child instanceof TrieNode) node = child
  else {
    node = new TrieNode()
    insert(node, child.levels, child.at, { route: child.route, makeParams: child.makeParams })
    parent.literals.set(text, node)
  }
  insert(node, levels, at, leaf)
}

function checkOf(level: PatternLevel): Check {
  if (level.kind === 'literal') return level.text
  if (level.kind === 'plus') return anyLevel
  if (level.kind === 'param' && level.constraint !== undefined) return converter(level.constraint)
  return namedLevel
}

const anyLevel: Convert = (level) => level
const namedLevel: Convert = (level) => (level === '' ? undefined : level)

function branchFor(node: TrieNode, level: Extract<PatternLevel, { kind: 'plus' | 'param' }>): TrieNode {
  node.branches = true
  if (level.kind === 'plus') {
    node.plus ??= new TrieNode()
    return node.plus
  }
  if (level.constraint === undefined) {
    node.param ??= new TrieNode()
    return node.param
  }
  const key = constraintKey(level.constraint)
  const branch: Typed = { key, convert: converter(level.constraint), node: new TrieNode() }
  if (level.constraint.kind === 'types') {
    node.byType ??= []
    return knownOr(node.byType, branch)
  }
  node.byValue ??= new Map()
  let kept: TrieNode | undefined
  for (const value of level.constraint.values) {
    const branches = node.byValue.get(value) ?? []
    node.byValue.set(value, branches)
    kept = knownOr(branches, kept === undefined ? branch : { ...branch, node: kept })
  }
  return kept!
}

function knownOr(branches: Typed[], fresh: Typed): TrieNode {
  const known = branches.find(({ key }) => key === fresh.key)
  if (known !== undefined) return known.node
  branches.push(fresh)
  return fresh.node
}
