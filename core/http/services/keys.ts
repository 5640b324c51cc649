import type { Actor } from '../../modbus/field.js'

export const KEY_SCOPES = ['read', 'write', 'admin'] as const

/** Each contains the ones before it. */
export type KeyScope = (typeof KEY_SCOPES)[number]

/** An API key as it is kept: the key itself is shown once, at its creation, and never stored. */
export interface ApiKeyRecord {
  /** First characters of the key, its name in lists and logs. */
  readonly prefix: string
  /** SHA-256 of the whole key, hex. */
  readonly hash: string
  readonly name: string
  readonly scope: KeyScope
  /** ISO 8601 UTC. */
  readonly created_at: string
  /** ISO 8601 UTC; null: never. */
  readonly expires_at: string | null
  readonly revoked_at: string | null
}

export interface KeyService {
  /** True once there is a key, until the last one is revoked; an expired one counts. Then the sidecar asks for credentials. */
  any(): boolean
  /** By prefix, from memory; undefined where there is none. */
  find(prefix: string): ApiKeyRecord | undefined
  list(): Promise<readonly ApiKeyRecord[]>
  add(record: ApiKeyRecord, actor: Actor): Promise<void>
  /** Rejects with KEY_UNKNOWN. */
  revoke(prefix: string, actor: Actor): Promise<void>
}
