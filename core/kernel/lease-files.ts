import { mkdir, rmdir } from 'node:fs/promises'
import { join } from 'node:path'
import type { Lease } from '../database/repositories/leases.js'
import { lockFolder } from '../spool/lock.js'
import { RouteMQError } from '../support/errors.js'
import type { LeaseBook } from './bus-leases.js'

/**
 * Leases of one host, where no database server decides: a lock file for each bus in the data folder. A lock whose
 * process is gone is taken over at once, so there is nothing to renew. On a full disk nobody can make a new lock: the
 * product goes on without one, a command does not.
 */
export class LeaseFiles implements LeaseBook {
  readonly #folder: string
  readonly #held = new Map<string, () => Promise<void>>()

  constructor(folder: string) {
    this.#folder = folder
  }

  async acquireAll(names: readonly string[]): Promise<ReadonlyMap<string, Lease>> {
    const leases = new Map<string, Lease>()
    for (const name of names) leases.set(name, await this.#acquire(name))
    return leases
  }

  async releaseAll(names: readonly string[]): Promise<void> {
    for (const name of names) {
      await this.#held.get(name)?.()
      this.#held.delete(name)
      // Another process may wait in there already.
      await rmdir(this.#folderOf(name)).catch(() => {})
    }
  }

  /** Files know of no other installation. */
  async list(): Promise<readonly []> {
    return []
  }

  async #acquire(name: string): Promise<Lease> {
    if (this.#held.has(name)) return { held: true, epoch: 1 }
    const folder = this.#folderOf(name)
    await mkdir(folder, { recursive: true })
    try {
      this.#held.set(name, await lockFolder(folder))
      return { held: true, epoch: 1 }
    } catch (error) {
      if (!(error instanceof RouteMQError) || error.code !== 'SPOOL_LOCKED') throw error
      return { held: false, owner: ownerOf(error), epoch: 1 }
    }
  }

  #folderOf(name: string): string {
    return join(this.#folder, encodeURIComponent(name))
  }
}

function ownerOf({ details }: RouteMQError): string {
  return details?.pid === 0 ? 'a process not known here' : `process ${String(details?.pid)}`
}
