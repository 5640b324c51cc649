import type { Actor } from '../modbus/field.js'
import { RouteMQError } from '../support/errors.js'
import { hashKey, isUsable, prefixOf, sameDigest } from './keys.js'
import { KEY_SCOPES, type KeyScope, type KeyService } from './services/keys.js'
import type { TokenVerifier } from './tokens.js'

/** Who asks, and how far it may go. */
export interface Caller {
  readonly actor: Actor
  readonly scope: KeyScope
  /** It showed no credential: for the limits it is where it comes from. */
  readonly anonymous?: true
}

const COMMAND_LINE: Caller = { actor: { kind: 'cli', name: 'run-token' }, scope: 'admin' }

export interface Credentials {
  readonly authorization?: string | undefined
  readonly 'x-api-key'?: string | string[] | undefined
}

export interface AuthenticatorOptions {
  /** Keys of the configuration, allowed everything. */
  readonly apiKeys: readonly string[]
  /** Only where tokens are taken. */
  readonly verifyToken: TokenVerifier | undefined
  /** Secret of this run, known to the owner of `run.json`. */
  readonly runToken: string
  readonly keys?: KeyService | undefined
  /** Credentials are asked for even while no key exists: the sidecar listens beyond loopback. */
  readonly always: boolean
  readonly now: () => number
}

/** Tells callers apart. Everything secret is kept and compared as a digest. */
export class Authenticator {
  readonly #options: AuthenticatorOptions
  readonly #runToken: Buffer
  readonly #configured: readonly { readonly digest: Buffer; readonly caller: Caller }[]

  constructor(options: AuthenticatorOptions) {
    this.#options = options
    this.#runToken = hashKey(options.runToken)
    this.#configured = options.apiKeys.map((key, index) => ({
      digest: hashKey(key),
      caller: { actor: { kind: 'http', name: `key:configured-${index + 1}` }, scope: 'admin' },
    }))
  }

  /** False: everything is open to this machine, and only to it. */
  get required(): boolean {
    const { always, keys, verifyToken } = this.#options
    return always || this.#configured.length > 0 || verifyToken !== undefined || keys?.any() === true
  }

  /**
   * The caller behind a request's credentials; undefined where there are none.
   *
   * @throws RouteMQError UNAUTHENTICATED where there are some and they are wrong.
   */
  identify(credentials: Credentials, allowBasic: boolean): Caller | undefined | Promise<Caller> {
    const secret = secretOf(credentials, allowBasic)
    if (secret === undefined) return undefined
    const digest = hashKey(secret)
    if (sameDigest(digest, this.#runToken)) return COMMAND_LINE
    // Every configured key is compared, so that the time says nothing about which one was close.
    let found: Caller | undefined
    for (const known of this.#configured) if (sameDigest(digest, known.digest)) found = known.caller
    if (found !== undefined) return found
    return this.#kept(secret, digest) ?? this.#ofToken(secret)
  }

  #kept(secret: string, digest: Buffer): Caller | undefined {
    const { keys, now } = this.#options
    const prefix = keys === undefined ? undefined : prefixOf(secret)
    const record = prefix === undefined ? undefined : keys?.find(prefix)
    if (record === undefined || !sameDigest(digest, Buffer.from(record.hash, 'hex')) || !isUsable(record, now()))
      return undefined
    return { actor: { kind: 'http', name: `key:${prefix}` }, scope: record.scope }
  }

  #ofToken(secret: string): Promise<Caller> {
    const { verifyToken } = this.#options
    if (verifyToken !== undefined && secret.split('.').length === 3) {
      return verifyToken(secret).then(({ name, scope }) => ({ actor: { kind: 'http', name }, scope }))
    }
    throw new RouteMQError('UNAUTHENTICATED', 'the credential is not known here, or no longer valid')
  }
}

/** Whether there is something that claims to be a credential. */
export function bearsCredential({ authorization, 'x-api-key': key }: Credentials): boolean {
  return authorization !== undefined || key !== undefined
}

export function allows(granted: KeyScope, needed: KeyScope): boolean {
  return KEY_SCOPES.indexOf(granted) >= KEY_SCOPES.indexOf(needed)
}

/** The secret of `X-API-Key`, of a bearer credential or, where a browser must be able to ask for it, a Basic password. */
function secretOf(credentials: Credentials, allowBasic: boolean): string | undefined {
  const key = credentials['x-api-key']
  if (typeof key === 'string' && key !== '') return key
  const { authorization } = credentials
  if (authorization === undefined) return undefined
  // As nearly everyone writes it; everything else by the grammar.
  if (authorization.startsWith('Bearer ') && !authorization.includes(' ', 7)) return authorization.slice(7)
  const found = /^(\S+) +(\S+) *$/.exec(authorization)
  const scheme = found?.[1]?.toLowerCase()
  if (scheme === 'bearer') return found![2]!
  if (scheme === 'basic' && allowBasic) {
    const pair = Buffer.from(found![2]!, 'base64').toString('utf8')
    return pair.slice(pair.indexOf(':') + 1)
  }
  throw new RouteMQError('UNAUTHENTICATED', 'send the key as `Authorization: Bearer …` or as `X-API-Key`')
}
