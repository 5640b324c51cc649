import { splitPassword } from '../config/database-password.js'

/**
 * With which password the connections of a pool are made; it may change while they are open. Those that were let in with an
 * earlier one are replaced as they become free: one as a trial, the others once the new password has let one in. So a password
 * that is not right, or not yet, costs one connection and not all.
 */
export class Login {
  readonly #onChange: ((password: string) => void)[] = []
  /** Of which password's time a connection is. */
  readonly #times = new WeakMap<object, number>()
  #url: string
  #time = 0
  #renewal: 'none' | 'trial' | 'trying' | 'all' = 'none'

  constructor(url: string) {
    this.#url = url
  }

  /** With the password in force. */
  get url(): string {
    return this.#url
  }

  onChange(listener: (password: string) => void): void {
    this.#onChange.push(listener)
  }

  /** Takes the password of a URL of the same user and database. */
  use(url: string): void {
    const { password } = splitPassword(url)
    if (password === undefined || password === splitPassword(this.#url).password) return
    this.#url = url
    this.#time += 1
    this.#renewal = 'trial'
    for (const listener of this.#onChange) listener(password)
  }

  /** A connection was made. */
  letIn(connection: object): void {
    this.#times.set(connection, this.#time)
    if (this.#renewal !== 'none') this.#renewal = 'all'
  }

  /** Whether a connection that has become free is to be closed rather than used again. */
  isOver(connection: object): boolean {
    if (this.#renewal === 'none' || this.#renewal === 'trying' || this.#times.get(connection) === this.#time)
      return false
    if (this.#renewal === 'trial') this.#renewal = 'trying'
    return true
  }
}
