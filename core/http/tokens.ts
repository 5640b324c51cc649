import type { JWKSCacheInput, JWTVerifyGetKey } from 'jose'
import type { JwtConfig } from '../config/config.js'
import { RouteMQError } from '../support/errors.js'
import { KEY_SCOPES, type KeyScope } from './services/keys.js'

export interface TokenHolder {
  readonly name: string
  readonly scope: KeyScope
}

/** A key that the set does not have makes it be fetched again, at most so often: strangers can name any key. */
const COOLDOWN_MS = 10_000
/** A key set older than this is fetched again. */
const MAX_AGE_MS = 600_000

interface KeySetTimes {
  readonly cooldownMs: number
  readonly maxAgeMs: number
}

/** Checks one token. Rejects with UNAUTHENTICATED, or JWKS_UNAVAILABLE where its keys cannot be fetched. */
export type TokenVerifier = (token: string) => Promise<TokenHolder>

/**
 * A verifier of JSON Web Tokens. Each kind of key has exactly one algorithm, HS256 for the secret and RS256 for the key
 * set, so that neither `none` nor a public key used as a secret is ever taken. A token must expire and name a subject.
 */
export function tokenVerifier(
  config: JwtConfig,
  { cooldownMs = COOLDOWN_MS, maxAgeMs = MAX_AGE_MS }: Partial<KeySetTimes> = {},
): TokenVerifier {
  let verifier: Promise<TokenVerifier> | undefined
  return async (token) => {
    // The library is loaded with the first token.
    verifier ??= import('jose').then((jose) => verifierOf(config, jose, { cooldownMs, maxAgeMs }))
    return (await verifier)(token)
  }
}

type Jose = typeof import('jose')

function verifierOf(config: JwtConfig, jose: Jose, times: KeySetTimes): TokenVerifier {
  const { errors, jwtVerify } = jose
  const { secret, jwksUrl } = config
  const options = {
    requiredClaims: ['exp', 'sub'],
    clockTolerance: 5,
    ...(config.issuer === undefined ? {} : { issuer: config.issuer }),
    ...(config.audience === undefined ? {} : { audience: config.audience }),
  }
  const shared = secret === undefined ? undefined : new TextEncoder().encode(secret)
  const remote = jwksUrl === undefined ? undefined : keySetAt(new URL(jwksUrl), jose, times)
  return async function verify(token) {
    try {
      const algorithm = algorithmOf(token)
      if (algorithm === 'HS256' && shared !== undefined) {
        return holderOf(await jwtVerify(token, shared, { ...options, algorithms: ['HS256'] }), config)
      }
      if (algorithm === 'RS256' && remote !== undefined) {
        return holderOf(await jwtVerify(token, remote, { ...options, algorithms: ['RS256'] }), config)
      }
      throw new RouteMQError('UNAUTHENTICATED', 'the token is signed in a way that is not accepted here')
    } catch (error) {
      throw refusal(error, errors)
    }
  }
}

/**
 * The keys at an address. Once they were fetched they stay good while the address does not answer: an identity provider that
 * is away must not lock out everyone with a valid token. They are fetched again while requests go on with what is known; after
 * a long silence first, for a key that was taken out of the set must not be taken because nobody looked.
 */
function keySetAt(
  url: URL,
  { createRemoteJWKSet, jwksCache }: Jose,
  { cooldownMs, maxAgeMs }: KeySetTimes,
): JWTVerifyGetKey {
  const cache: JWKSCacheInput = {}
  const remote = createRemoteJWKSet(url, {
    timeoutDuration: 3_000,
    cooldownDuration: cooldownMs,
    cacheMaxAge: Number.POSITIVE_INFINITY,
    [jwksCache]: cache,
  })
  let triedAt = Number.NEGATIVE_INFINITY
  return async (header, token) => {
    const now = Date.now()
    const age = now - ((cache as { uat?: number }).uat ?? now)
    if (age > maxAgeMs && now - triedAt >= cooldownMs) {
      const silence = Math.min(age, now - triedAt)
      triedAt = now
      const fetched = remote.reload().catch(() => {})
      if (silence >= 2 * maxAgeMs) await fetched
    }
    return remote(header, token)
  }
}

function algorithmOf(token: string): unknown {
  const [header = ''] = token.split('.', 1)
  try {
    const parsed: unknown = JSON.parse(Buffer.from(header, 'base64url').toString('utf8'))
    return typeof parsed === 'object' && parsed !== null && 'alg' in parsed ? parsed.alg : undefined
  } catch {
    return undefined // not a token at all; refused like any other algorithm
  }
}

function holderOf({ payload }: { payload: Record<string, unknown> }, config: JwtConfig): TokenHolder {
  const claim = payload[config.scopeClaim ?? 'scope']
  const granted = Array.isArray(claim) ? claim : typeof claim === 'string' ? claim.split(' ') : []
  const scope = [...KEY_SCOPES].reverse().find((known) => granted.includes(known))
  if (scope === undefined) throw new RouteMQError('FORBIDDEN', 'the token grants none of read, write, admin')
  return { name: `jwt:${String(payload.sub).slice(0, 100)}`, scope }
}

function refusal(error: unknown, errors: Jose['errors']): RouteMQError {
  if (error instanceof RouteMQError) return error
  if (error instanceof errors.JWTExpired) {
    return new RouteMQError('UNAUTHENTICATED', 'the token has expired', { cause: error })
  }
  // A key set that cannot be reached is no fault of the caller, who may try again.
  const unreachable =
    error instanceof errors.JWKSTimeout ||
    error instanceof errors.JWKSInvalid ||
    error instanceof TypeError ||
    // jose throws its base class where the address of the key set answers anything but 200 and JSON.
    (error instanceof errors.JOSEError && error.code === 'ERR_JOSE_GENERIC')
  if (unreachable)
    return new RouteMQError('JWKS_UNAVAILABLE', 'the keys of the tokens cannot be fetched', { cause: error })
  return new RouteMQError('UNAUTHENTICATED', 'the token is not valid', { cause: error })
}
