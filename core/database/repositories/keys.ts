import { RouteMQError } from '../../support/errors.js'
import type { FrameworkTables } from '../tables.js'
import { isoToMicros, microsToIso, millisToMicros } from '../values.js'
import type { RepositoryContext } from './context.js'

/** An API key without the key: what is shown once at its creation is not kept. Times are ISO 8601 UTC. */
export interface StoredKey {
  readonly prefix: string
  /** SHA-256 of the whole key, hex. */
  readonly hash: string
  readonly name: string
  readonly scope: 'read' | 'write' | 'admin'
  readonly created_at: string
  readonly expires_at: string | null
  readonly revoked_at: string | null
}

const SCOPES: ReadonlySet<string> = new Set<StoredKey['scope']>(['read', 'write', 'admin'])

export class KeyRepository {
  readonly #context: RepositoryContext

  constructor(context: RepositoryContext) {
    this.#context = context
  }

  /** All of them, revoked ones too, oldest first. A row that is no key (edited by hand) is left out, and `onDamaged` told. */
  async list(onDamaged: (prefix: string, error: unknown) => void = () => {}): Promise<StoredKey[]> {
    const rows = await this.#context.db
      .selectFrom('routemq_api_keys')
      .selectAll()
      .orderBy('created_us')
      .orderBy('prefix')
      .execute()
    return rows.flatMap((row) => {
      try {
        return [toKey(row)]
      } catch (error) {
        onDamaged(row.prefix, error)
        return []
      }
    })
  }

  /** @throws REQUEST_INVALID where it expires at no time that can be kept */
  async add(key: StoredKey): Promise<void> {
    const { created_at, expires_at, revoked_at, ...row } = key
    const expires_us = expires_at === null ? null : isoToMicros(expires_at)
    if (expires_us !== null && !Number.isSafeInteger(expires_us)) throw endless(expires_at)
    await this.#context.db
      .insertInto('routemq_api_keys')
      .values({
        ...row,
        created_us: isoToMicros(created_at) ?? millisToMicros(this.#context.now()),
        expires_us: expires_us!,
        revoked_us: revoked_at === null ? null : (isoToMicros(revoked_at) ?? null),
      })
      .execute()
  }

  /** False where there is no such key, or it was revoked before. */
  async revoke(prefix: string): Promise<boolean> {
    const result = await this.#context.db
      .updateTable('routemq_api_keys')
      .set({ revoked_us: millisToMicros(this.#context.now()) })
      .where('prefix', '=', prefix)
      .where('revoked_us', 'is', null)
      .executeTakeFirst()
    return result.numUpdatedRows > 0n
  }
}

function toKey({ created_us, expires_us, revoked_us, scope, ...row }: FrameworkTables['routemq_api_keys']): StoredKey {
  if (!SCOPES.has(scope)) throw new RangeError(`${JSON.stringify(scope)} is no scope`)
  return {
    ...row,
    scope: scope as StoredKey['scope'],
    created_at: microsToIso(created_us),
    expires_at: expires_us === null ? null : microsToIso(expires_us),
    revoked_at: revoked_us === null ? null : microsToIso(revoked_us),
  }
}

function endless(expires_at: string | null): RouteMQError {
  const last = microsToIso(Number.MAX_SAFE_INTEGER)
  const message = `A key expires at ${last} at the latest, not at ${expires_at}; without expires_at it never does`
  return new RouteMQError('REQUEST_INVALID', message, { details: { field: 'expires_at' } })
}
