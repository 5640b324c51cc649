import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import type { ApiKeyRecord, KeyScope } from './services/keys.js'

const KEY_BYTES = 32
const PREFIX_BYTES = 6
/** `rmq_` + prefix + `_` + 256 random bits; the shape lets secret scanners find a key that leaked. */
const SHAPE = /^rmq_([0-9a-f]{12})_[A-Za-z0-9_-]{43}$/

/** A new API key: the text to hand out once, and the record to keep. */
export function createKey(
  input: { readonly name: string; readonly scope: KeyScope; readonly expiresAt?: string | null },
  now: number,
  random: (size: number) => Buffer = randomBytes,
): { readonly key: string; readonly record: ApiKeyRecord } {
  const prefix = random(PREFIX_BYTES).toString('hex')
  const key = `rmq_${prefix}_${random(KEY_BYTES).toString('base64url')}`
  return {
    key,
    record: {
      prefix,
      hash: hashKey(key).toString('hex'),
      name: input.name,
      scope: input.scope,
      created_at: new Date(now).toISOString(),
      expires_at: input.expiresAt ?? null,
      revoked_at: null,
    },
  }
}

/** The prefix of what looks like a key of ours, else undefined. */
export function prefixOf(key: string): string | undefined {
  return SHAPE.exec(key)?.[1]
}

/**
 * A key has 256 random bits: a plain digest cannot be reversed by guessing, and costs little per request. By way of a text,
 * because its buffer then comes out of the pool; one that is allocated costs three times the digest
 * (benchmarks/cases/http.ts).
 */
export function hashKey(key: string): Buffer {
  return Buffer.from(hash('sha256', key, 'binary'), 'binary')
}

/** Compares digests, so that neither length nor content of what is expected shows in the time it takes. */
export function sameDigest(a: Buffer, b: Buffer): boolean {
  return a.length === b.length && timingSafeEqual(a, b)
}

/** True while a kept key may be used. */
export function isUsable(record: ApiKeyRecord, now: number): boolean {
  return record.revoked_at === null && (record.expires_at === null || Date.parse(record.expires_at) > now)
}
