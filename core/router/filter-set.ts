/** Leading `+/#` and `#` match the same topics: every topic has a first level. */
export function canonicalFilter(filter: string): string {
  return filter === '+/#' ? '#' : filter
}

/** Whether some topic matches both filters (MQTT 5.0, 4.7). */
export function overlaps(one: string, other: string): boolean {
  return overlapFrom(one.split('/'), other.split('/'))
}

function overlapFrom(one: readonly string[], other: readonly string[]): boolean {
  if (hides(one[0]!, other[0]!) || hides(other[0]!, one[0]!)) return false
  for (let at = 0; ; at += 1) {
    const left = one[at]
    const right = other[at]
    // `#` stands for nothing, too: `a/#` matches `a`.
    if (left === '#' || right === '#') return true
    if (left === undefined || right === undefined) return left === right
    if (left !== right && left !== '+' && right !== '+') return false
  }
}

/** Topics that begin with `$` are not matched by a leading wildcard (4.7.2). */
function hides(literal: string, wildcard: string): boolean {
  return literal.startsWith('$') && (wildcard === '+' || wildcard === '#')
}

interface FilterNode {
  readonly children: Map<string, FilterNode>
  /** The filter that ends here. */
  end: string | undefined
  /** The filter that ends here with `/#`. */
  hash: string | undefined
}

/** Filters as a tree, so that ten thousand are compared without ten thousand squared comparisons. */
export class FilterSet {
  readonly #root = newNode()

  add(filter: string): void {
    let node = this.#root
    for (const level of filter.split('/')) {
      if (level === '#') {
        node.hash = filter
        return
      }
      let child = node.children.get(level)
      if (child === undefined) {
        child = newNode()
        node.children.set(level, child)
      }
      node = child
    }
    node.end = filter
  }

  /** Filters of the set, other than `filter`, that match every topic it matches. */
  containing(filter: string): string[] {
    const found: string[] = []
    collectContaining(this.#root, filter.split('/'), 0, found)
    return found.filter((other) => other !== filter)
  }

  /** Whether some topic matches `filter` and one of the set. */
  overlaps(filter: string): boolean {
    return anyOverlap(this.#root, filter.split('/'), 0)
  }
}

function newNode(): FilterNode {
  return { children: new Map(), end: undefined, hash: undefined }
}

function collectContaining(node: FilterNode, levels: readonly string[], at: number, found: string[]): void {
  const level = levels[at]
  const hidden = at === 0 && level!.startsWith('$')
  if (node.hash !== undefined && !hidden) found.push(node.hash)
  if (level === undefined) {
    if (node.end !== undefined) found.push(node.end)
    return
  }
  if (level === '#') return
  const same = node.children.get(level)
  if (same !== undefined) collectContaining(same, levels, at + 1, found)
  const plus = level === '+' || hidden ? undefined : node.children.get('+')
  if (plus !== undefined) collectContaining(plus, levels, at + 1, found)
}

function anyOverlap(node: FilterNode, levels: readonly string[], at: number): boolean {
  const level = levels[at]
  const hidden = at === 0 && level!.startsWith('$')
  if (node.hash !== undefined && !hidden) return true
  if (level === undefined) return node.end !== undefined
  if (level === '#') return holdsAny(node, at === 0)
  for (const [text, child] of level === '+' ? node.children : fitting(node, level, hidden)) {
    if (at === 0 && level === '+' && text.startsWith('$')) continue
    if (anyOverlap(child, levels, at + 1)) return true
  }
  return false
}

function* fitting(node: FilterNode, level: string, hidden: boolean): Iterable<readonly [string, FilterNode]> {
  for (const text of hidden ? [level] : [level, '+']) {
    const child = node.children.get(text)
    if (child !== undefined) yield [text, child]
  }
}

/** Whether anything ends at or below a node; at the root only what a leading `#` may see. */
function holdsAny(node: FilterNode, atRoot: boolean): boolean {
  if (node.end !== undefined || node.hash !== undefined) return true
  for (const [text, child] of node.children) {
    if (atRoot && text.startsWith('$')) continue
    if (holdsAny(child, false)) return true
  }
  return false
}
