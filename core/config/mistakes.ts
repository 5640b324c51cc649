import { RouteMQError } from '../support/errors.js'

/** One thing wrong with the configuration: the setting, what stands there (secrets masked), what would be right. */
export interface Mistake {
  readonly key: string
  readonly got: string
  readonly want: string
}

export const MASK = '***'

/** Collects, so that one start attempt shows every mistake. */
export class Mistakes {
  readonly #found: Mistake[] = []

  add(mistake: Mistake): void {
    this.#found.push(mistake)
  }

  /** @throws CONFIG_INVALID where anything was found. */
  throwIfAny(): void {
    if (this.#found.length === 0) return
    const lines = this.#found.map(({ key, got, want }) => `  ${key}: got ${got}; want ${want}`)
    const count = lines.length === 1 ? 'One setting is' : `${lines.length} settings are`
    throw new RouteMQError('CONFIG_INVALID', `${count} wrong:\n${lines.join('\n')}`, {
      details: { mistakes: [...this.#found] },
    })
  }
}

/** A text that may be a URL, without what may be secret in it: the credentials and the query. */
export function maskUrl(text: string): string {
  const at = text.lastIndexOf('@')
  const scheme = /^[\w+.-]+:\/\//.exec(text)?.[0] ?? ''
  if (scheme === '' && at < 0) return text
  const rest = at < 0 ? text.slice(scheme.length) : `${MASK}@${text.slice(at + 1)}`
  return `${scheme}${rest}`.replace(/\?.*$/s, '')
}
