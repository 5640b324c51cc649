import { encode as encodeCbor } from 'cbor-x'
import { pack } from 'msgpackr'
import type { Context } from '../context.js'
import { withoutMember } from './json-member.js'

/** Where a credential may stand in a message. */
export interface CredentialPlace {
  /** Field at the top of the payload. */
  readonly field: string
  /** MQTT 5 user property (5.0, 3.3.2.3.7). */
  readonly property: string
}

type Properties = Record<string, string | string[]>

/** Credentials already taken out of the properties of a message that further routes still have to check. */
const taken = new WeakMap<object, Map<string, string>>()

/**
 * Takes a credential out of a message: from `ctx.payload` and `ctx.raw`, and from the user properties, which all routes
 * of a message share. Whoever logs, stores or forwards the message afterwards cannot leak it. The user property wins.
 */
export function takeCredential(ctx: Context, place: CredentialPlace): string | undefined {
  const fromProperty = takeProperty(ctx, place.property)
  const fromField = takeField(ctx, place.field)
  return fromProperty ?? fromField
}

function takeProperty(ctx: Context, name: string): string | undefined {
  const properties = ctx.message.properties.userProperties as Properties | undefined
  if (properties === undefined) return undefined
  const known = taken.get(properties)
  const before = known?.get(name)
  if (before !== undefined) return before
  if (!Object.hasOwn(properties, name)) return undefined
  const value = properties[name]!
  const credential = Array.isArray(value) ? value[0] : value
  // Removed although typed read-only: the message and its stored copy refer to this very object.
  Reflect.deleteProperty(properties, name)
  if (credential === undefined) return undefined
  if (known === undefined) taken.set(properties, new Map([[name, credential]]))
  else known.set(name, credential)
  return credential
}

function takeField(ctx: Context, field: string): string | undefined {
  const { payload } = ctx
  if (typeof payload !== 'object' || payload === null || Array.isArray(payload) || Buffer.isBuffer(payload))
    return undefined
  if (!Object.hasOwn(payload, field)) return undefined
  const { [field]: credential, ...rest } = payload as Record<string, unknown>
  ctx.payload = rest
  ctx.raw = rawWithout(ctx, field, rest)
  return typeof credential === 'string' ? credential : undefined
}

function rawWithout(ctx: Context, field: string, rest: object): Buffer {
  const format = ctx.route.codec ?? ctx.message.properties.contentType?.toLowerCase() ?? 'json'
  if (format.includes('msgpack')) return pack(rest)
  if (format.includes('cbor')) return encodeCbor(rest)
  return Buffer.from(withoutMember(ctx.raw.toString('utf8'), field) ?? JSON.stringify(rest))
}
