import type { JWTPayload, JWTVerifyGetKey, JWTVerifyOptions } from 'jose'
import { RouteMQError } from '../../support/errors.js'
import type { Context, Middleware, MiddlewareFactory } from '../context.js'
import { AUTH_PRIORITY } from './api-key-auth.js'
import { type CredentialPlace, takeCredential } from './credential.js'
import { addProof, hasProof } from './identity.js'

/** Exactly one of `secret`, `publicKey` and `jwksUrl`; else ROUTER_INVALID. `field` @default token, `property` @default authorization */
export interface JwtOptions extends Partial<CredentialPlace> {
  /** Shared secret of HS256, HS384 and HS512, at least 32 bytes. */
  readonly secret?: string
  /** PEM (SPKI) of the issuer's public key; needs one algorithm. */
  readonly publicKey?: string
  /** Where the issuer publishes its keys; fetched when first needed, at most every 30 s. */
  readonly jwksUrl?: string
  /** Accepted algorithms. @default HS256 with a secret; needed otherwise */
  readonly algorithms?: readonly string[]
  /** What `iss` of a token must be. @default not looked at */
  readonly issuer?: string
  /** What `aud` of a token must hold. @default not looked at */
  readonly audience?: string
  /** Seconds that clocks may differ. @default 5 */
  readonly clockTolerance?: number
}

type Verify = (token: string) => Promise<JWTPayload>

/**
 * Lets a message pass that carries a valid token in the payload field `token` or the user property `authorization`
 * (`Bearer …`), and takes it out. The subject becomes the sender's name; the claim `topics`, a list of filters, limits
 * where it may send. UNAUTHENTICATED for a missing, expired or forged token.
 */
export function jwtAuth(options: JwtOptions): MiddlewareFactory {
  const place = { field: options.field ?? 'token', property: options.property ?? 'authorization' }
  const verify = verifier(options)
  const proof = ['jwt', place.field, options.issuer, options.audience, options.jwksUrl].join(' ')
  return Object.assign(() => checkToken(verify, place, proof), { priority: AUTH_PRIORITY })
}

function checkToken(verify: Verify, place: CredentialPlace, proof: string): Middleware {
  async function jwt(ctx: Context, next: () => Promise<unknown>) {
    const token = takeCredential(ctx, place)?.replace(/^Bearer\s+/i, '')
    if (!hasProof(ctx, proof)) {
      if (token === undefined) throw new RouteMQError('UNAUTHENTICATED', 'the message carries no token')
      const claims = await verify(token)
      addProof(ctx, proof, { name: claims.sub ?? 'token', ...topicsOf(claims) })
    }
    return next()
  }
  return Object.assign(jwt, { marks: { authenticates: true } })
}

function verifier(options: JwtOptions): Verify {
  const { secret, publicKey, jwksUrl, issuer, audience } = options
  if ([secret, publicKey, jwksUrl].filter((source) => source !== undefined).length !== 1) {
    throw new RouteMQError('ROUTER_INVALID', 'jwtAuth needs exactly one of secret, publicKey and jwksUrl')
  }
  const algorithms = options.algorithms ?? (secret === undefined ? [] : ['HS256'])
  if (algorithms.length === 0) throw new RouteMQError('ROUTER_INVALID', 'jwtAuth needs the accepted algorithms')
  const checks: JWTVerifyOptions = {
    algorithms: [...algorithms],
    clockTolerance: options.clockTolerance ?? 5,
    ...(issuer !== undefined && { issuer }),
    ...(audience !== undefined && { audience }),
  }
  if (secret !== undefined && Buffer.byteLength(secret) < 32) {
    throw new RouteMQError('ROUTER_INVALID', 'the secret of jwtAuth needs at least 32 bytes')
  }
  const prepared = prepare(options, algorithms[0]!)
  prepared.catch(() => undefined) // Reported by each message that awaits it.
  return async (token) => {
    const { jwtVerify, errors } = await jose()
    try {
      return (await jwtVerify(token, await prepared, checks)).payload
    } catch (cause) {
      // An issuer that does not answer says nothing about the token: the message is tried again.
      if (!(cause instanceof errors.JOSEError) || UNREACHABLE.has(cause.code)) throw cause
      throw new RouteMQError('UNAUTHENTICATED', `the token is not valid: ${cause.message}`, { cause })
    }
  }
}

const UNREACHABLE = new Set(['ERR_JWKS_TIMEOUT', 'ERR_JOSE_GENERIC'])

/** Loaded only where it is used. */
const jose = () => import('jose')

async function prepare({ secret, publicKey, jwksUrl }: JwtOptions, algorithm: string): Promise<JWTVerifyGetKey> {
  const { createRemoteJWKSet, importSPKI } = await jose()
  if (jwksUrl !== undefined) {
    return createRemoteJWKSet(new URL(jwksUrl), { timeoutDuration: 5_000, cooldownDuration: 30_000 })
  }
  const key = secret === undefined ? await importSPKI(publicKey!, algorithm) : new TextEncoder().encode(secret)
  return async () => key
}

/** A filter list of the wrong type must not read as "no limits". */
function topicsOf(claims: JWTPayload): { readonly topics?: readonly string[] } {
  const topics = claims.topics
  if (topics === undefined) return {}
  if (Array.isArray(topics) && topics.every((topic) => typeof topic === 'string')) return { topics }
  throw new RouteMQError('UNAUTHENTICATED', 'the claim `topics` of the token is no list of filters')
}
