import type { SidecarApp } from './app.js'

interface KnownPath {
  readonly matches: RegExp
  readonly methods: Set<string>
}
export type PathTable = Map<string, KnownPath>

/** Collects path patterns and their methods from now on: 404 and 405 are told apart by it. */
export function pathTable(app: SidecarApp): PathTable {
  const table: PathTable = new Map()
  app.addHook('onRoute', ({ url, method }) => {
    // Of CORS: it answers preflights, whatever the path, and is no path itself.
    if (url === '*') return
    const known = table.get(url) ?? { matches: patternOf(url), methods: new Set<string>() }
    for (const each of typeof method === 'string' ? [method] : method) known.methods.add(each)
    table.set(url, known)
  })
  return table
}

/** The methods that a path takes; none where it does not exist. */
export function methodsOf(table: PathTable, path: string): string[] {
  const found = [...table.values()].filter(({ matches }) => matches.test(path)).flatMap(({ methods }) => [...methods])
  return [...new Set(found)].sort()
}

function patternOf(url: string): RegExp {
  const parts = url.split('/').map((part) => {
    if (part.startsWith(':')) return '[^/]+'
    if (part === '*') return '.*'
    return part.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')
  })
  return new RegExp(`^${parts.join('/')}/?$`)
}
