import { createHash, timingSafeEqual } from 'node:crypto'
import { RouteMQError } from '../../support/errors.js'
import type { Context, Middleware, MiddlewareFactory } from '../context.js'
import { type CredentialPlace, takeCredential } from './credential.js'
import { addProof, hasProof } from './identity.js'

/** Where keys stand in a message, and which are known. `field` and `property` @default api_key */
export interface ApiKeyOptions extends Partial<CredentialPlace> {
  /** Keys, or keys by the name of who holds them. @default `ROUTEMQ_API_KEYS` */
  readonly keys?: readonly string[] | Readonly<Record<string, string>>
}

interface Holder {
  readonly name: string
  readonly digest: Buffer
}

/** Runs outside everything that was not given a priority: nothing else may see the credential. */
export const AUTH_PRIORITY = 100

/**
 * Lets a message pass that carries a known key in the payload field or user property `api_key`, and takes the key out.
 * Without any keys everyone passes, which the log says once. UNAUTHENTICATED otherwise.
 */
export function apiKeyAuth(options: ApiKeyOptions = {}): MiddlewareFactory {
  const place = { field: options.field ?? 'api_key', property: options.property ?? 'api_key' }
  const make = (keys: ApiKeyOptions['keys']) => checkKey(holdersOf(keys ?? keysFromEnvironment()), place)
  return Object.assign(() => make(options.keys), {
    priority: AUTH_PRIORITY,
    withServices: (services: object) => make(options.keys ?? keysOf(services)),
  })
}

function checkKey(holders: readonly Holder[], place: CredentialPlace): Middleware {
  let told = false
  // Names, not keys: the proof is stored with the message.
  const proof = `api_key ${place.field} ${holders.map(({ name }) => name).join(' ')}`
  // Not `async`: it waits for nothing, and the chain takes what it throws as it takes a rejection.
  function auth(ctx: Context, next: () => Promise<unknown>) {
    const key = takeCredential(ctx, place)
    // A message that is tried again has lost its credential and kept what it proved.
    if (holders.length > 0 && !hasProof(ctx, proof)) addProof(ctx, proof, { name: holderOf(holders, key).name })
    else if (holders.length === 0 && !told) {
      told = true
      warnOpen(ctx)
    }
    return next()
  }
  return Object.assign(auth, { marks: { authenticates: true } })
}

function holderOf(holders: readonly Holder[], key: string | undefined): Holder {
  if (key === undefined) throw new RouteMQError('UNAUTHENTICATED', 'the message carries no API key')
  const digest = digestOf(key)
  // Digests of one length, compared in full against every key: the time tells nothing about any of them.
  const found = holders.filter((holder) => timingSafeEqual(holder.digest, digest))[0]
  if (found === undefined) throw new RouteMQError('UNAUTHENTICATED', 'the API key is not known')
  return found
}

function warnOpen(ctx: Context): void {
  ctx.log.warn({}, 'no API keys are set (ROUTEMQ_API_KEYS): the auth middleware lets everyone in')
}

function holdersOf(keys: readonly string[] | Readonly<Record<string, string>>): Holder[] {
  const named = Array.isArray(keys)
    ? keys.map((key: string, index): [string, string] => [`key ${index + 1}`, key])
    : Object.entries(keys as Readonly<Record<string, string>>)
  return named.filter(([, key]) => key !== '').map(([name, key]) => ({ name, digest: digestOf(key) }))
}

function digestOf(key: string): Buffer {
  return createHash('sha256').update(key).digest()
}

function keysFromEnvironment(): string[] {
  return (process.env.ROUTEMQ_API_KEYS ?? '').split(',').map((key) => key.trim())
}

/** The resolved configuration knows `.env`, configuration files and ROUTEMQ_API_KEYS_FILE too. */
function keysOf(services: object): readonly string[] | undefined {
  const { config } = services as { readonly config?: { readonly app?: { readonly apiKeys?: readonly string[] } } }
  return config?.app?.apiKeys
}
