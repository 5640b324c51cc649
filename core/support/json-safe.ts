const DEEPEST = 50

/**
 * What JSON and a message between processes can carry of a value that route code made: the value itself where all of it
 * can be carried, else a copy. A BigInt becomes its digits, a cycle a note; functions are left out. Never throws.
 */
export function jsonSafe<T>(value: T): T | undefined {
  try {
    return isPlain(value, 0) ? value : (copyOf(value, []) as T | undefined)
  } catch {
    // A getter or a toJSON of its own that throws.
    return undefined
  }
}

function isPlain(value: unknown, depth: number): boolean {
  if (value === null || value === undefined) return true
  if (typeof value !== 'object')
    return typeof value !== 'bigint' && typeof value !== 'function' && typeof value !== 'symbol'
  // Deeper than anyone writes it down, or a cycle.
  if (depth > DEEPEST) return false
  if (Array.isArray(value)) return value.every((one) => isPlain(one, depth + 1))
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) return false
  return Object.values(value).every((one) => isPlain(one, depth + 1))
}

function copyOf(value: unknown, above: readonly unknown[]): unknown {
  if (typeof value === 'bigint') return String(value)
  if (typeof value === 'function' || typeof value === 'symbol') return undefined
  if (typeof value !== 'object' || value === null) return value
  if (above.includes(value)) return '[circular]'
  if (above.length > DEEPEST) return '[too deep]'
  const within = [...above, value]
  if ('toJSON' in value && typeof value.toJSON === 'function') return copyOf(value.toJSON(''), within)
  if (Array.isArray(value)) return value.map((one) => copyOf(one, within) ?? null)
  const copy: Record<string, unknown> = {}
  for (const [name, one] of Object.entries(value)) {
    const kept = copyOf(one, within)
    if (kept !== undefined)
      Object.defineProperty(copy, name, { value: kept, enumerable: true, writable: true, configurable: true })
  }
  return copy
}
