import type { Lease } from '../../../core/database/repositories/leases.js'
import type { LeaseBook } from '../../../core/kernel/bus-leases.js'

/** A book of which the test is the other owner. */
export class TestLeaseBook implements LeaseBook {
  readonly owners = new Map<string, string>()
  /** How often somebody wanted leases. */
  asked = 0
  /** What the book answers instead. */
  failure: Error | undefined
  /** How long what the book answered is under way. */
  underWay: Promise<void> | undefined

  async acquireAll(names: readonly string[], owner: string): Promise<ReadonlyMap<string, Lease>> {
    this.asked += 1
    this.#answer()
    const answer = new Map<string, Lease>(
      names.map((name) => {
        const holder = this.owners.get(name) ?? owner
        this.owners.set(name, holder)
        return [name, holder === owner ? { held: true, epoch: 1 } : { held: false, owner: holder, epoch: 1 }]
      }),
    )
    await this.underWay
    return answer
  }

  async releaseAll(names: readonly string[], owner: string): Promise<void> {
    this.#answer()
    for (const name of names) if (this.owners.get(name) === owner) this.owners.delete(name)
  }

  async list() {
    this.#answer()
    return [...this.owners].map(([name, owner]) => ({ name, owner, renewed_at: '2026-01-01T00:00:00Z' }))
  }

  #answer(): void {
    if (this.failure !== undefined) throw this.failure
  }
}
