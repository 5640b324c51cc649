import { isUtf8 } from 'node:buffer'
import { createRequire } from 'node:module'
import type * as Cbor from 'cbor-x'
import type * as MessagePack from 'msgpackr'
import type { CodecName } from '../router/route.js'
import { RouteMQError } from '../support/errors.js'

// Loaded with the first message that needs them: most applications speak JSON only.
const load = createRequire(import.meta.url)
let loadedMsgpack: typeof MessagePack | undefined
let loadedCbor: typeof Cbor | undefined
const msgpack = () => (loadedMsgpack ??= load('msgpackr') as typeof MessagePack)
const cbor = () => (loadedCbor ??= load('cbor-x') as typeof Cbor)

/** Deeper nesting than this is refused: recursive code that walks a payload must not run out of stack. */
const MAX_DEPTH = 64
/** JSON that is shorter has no room for so many brackets. */
const SHALLOW_BYTES = 2 * MAX_DEPTH

/** Content types (MQTT 5.0, 3.3.2.3.9) and what they mean. */
const BY_CONTENT_TYPE: Readonly<Record<string, CodecName>> = {
  'application/json': 'json',
  'text/json': 'json',
  'text/plain': 'text',
  'application/octet-stream': 'raw',
  'application/msgpack': 'msgpack',
  'application/x-msgpack': 'msgpack',
  'application/vnd.msgpack': 'msgpack',
  'application/cbor': 'cbor',
}

const CONTENT_TYPES: Readonly<Record<CodecName, string>> = {
  json: 'application/json',
  text: 'text/plain',
  raw: 'application/octet-stream',
  msgpack: 'application/msgpack',
  cbor: 'application/cbor',
}

export function contentTypeOf(codec: CodecName): string {
  return CONTENT_TYPES[codec]
}

/** The codec a content type asks for, parameters like `; charset=utf-8` ignored; undefined when it is not known. */
export function codecOf(contentType: string | undefined): CodecName | undefined {
  if (contentType === undefined) return undefined
  const essence = contentType.split(';', 1)[0]!.trim().toLowerCase()
  return BY_CONTENT_TYPE[essence] ?? (essence.endsWith('+json') ? 'json' : undefined)
}

/**
 * Bytes of a value. In JSON a BigInt is a number while that is exact and a decimal string beyond; NaN and infinities are
 * null; `undefined` is the empty payload. Buffers and strings go out as they are with `raw` and `text`.
 *
 * @throws PAYLOAD_INVALID for what the codec cannot say (a circular object, an object as `raw`).
 */
export function encodePayload(value: unknown, codec: CodecName = 'json'): Buffer {
  if (value === undefined) return Buffer.alloc(0)
  try {
    switch (codec) {
      case 'json':
        return Buffer.from(JSON.stringify(value, jsonValue))
      case 'msgpack':
        return msgpack().pack(value)
      case 'cbor':
        return cbor().encode(value)
      case 'text':
        if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value)) break
        return Buffer.isBuffer(value) ? value : Buffer.from(String(value))
      case 'raw':
        if (value instanceof Uint8Array) return Buffer.from(value.buffer, value.byteOffset, value.byteLength)
        if (typeof value === 'string') return Buffer.from(value)
        break
      default:
        codec satisfies never
    }
  } catch (error) {
    throw new RouteMQError('PAYLOAD_INVALID', `the value cannot be written as ${codec}: ${(error as Error).message}`, {
      cause: error,
    })
  }
  throw new RouteMQError('PAYLOAD_INVALID', `a value of type ${typeof value} cannot be written as ${codec}`)
}

/**
 * The value in a payload. A route's codec wins over the content type; without either it is JSON.
 *
 * @throws PAYLOAD_MALFORMED with the position where it stops making sense.
 */
export function decodePayload(payload: Buffer, codec?: CodecName, contentType?: string): unknown {
  const name = codec ?? codecOf(contentType) ?? 'json'
  switch (name) {
    case 'raw':
      return payload
    case 'text':
      return decodeText(payload)
    case 'json':
      return decodeJson(payload)
    case 'msgpack':
      return decodeBinary(payload, name, msgpack().unpack)
    case 'cbor':
      return decodeBinary(payload, name, cbor().decode)
    default:
      return name satisfies never
  }
}

function jsonValue(_key: string, value: unknown): unknown {
  if (typeof value !== 'bigint') return value
  return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString()
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function decodeText(payload: Buffer): string {
  try {
    return utf8.decode(payload)
  } catch (error) {
    throw malformed(
      'text',
      `it is not UTF-8 (byte ${firstBadByte(payload)})`,
      { position: firstBadByte(payload) },
      error,
    )
  }
}

function firstBadByte(payload: Buffer): number {
  const clean = payload.toString('utf8')
  const at = clean.indexOf('\ufffd')
  return at < 0 ? payload.length : Buffer.byteLength(clean.slice(0, at))
}

function decodeJson(payload: Buffer): unknown {
  // Faster than a fatal TextDecoder. JSON is UTF-8 (RFC 8259, 8.1); what is not must not run with other characters in it.
  if (!isUtf8(payload)) {
    const position = firstBadByte(payload)
    throw malformed('json', `it is not UTF-8 (byte ${position})`, { position }, undefined)
  }
  const text = payload.toString() // A named encoding takes a longer way.
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch (error) {
    const message = (error as Error).message
    const position = jsonPosition(message, text)
    const what =
      payload.length === 0 ? 'it is empty' : `${message}${/position/.test(message) ? '' : ` (position ${position})`}`
    throw malformed('json', what, { position }, error)
  }
  if (typeof value === 'object' && value !== null) {
    if (payload.length > SHALLOW_BYTES) checkDepth(value, 'json')
    // An escape may spell any character of it.
    if (text.includes('__proto__') || text.includes('\\u')) refuseProto(value, 'json')
  }
  return value
}

function jsonPosition(message: string, text: string): number {
  const found = /position (\d+)/.exec(message)
  return found === null ? text.length : Number(found[1])
}

function decodeBinary(payload: Buffer, codec: 'msgpack' | 'cbor', decode: (bytes: Buffer) => unknown): unknown {
  let value: unknown
  try {
    // A copy: decoders hand out views into what they were given, and a view would pin the network buffer.
    value = decode(Buffer.from(payload))
  } catch (error) {
    const partial = (error as { lastPosition?: number }).lastPosition
    const position = partial ?? payload.length
    throw malformed(codec, `${(error as Error).message} (byte ${position} of ${payload.length})`, { position }, error)
  }
  if (typeof value === 'object' && value !== null) {
    checkDepth(value, codec)
    refuseProto(value, codec)
  }
  return value
}

function checkDepth(root: object, codec: CodecName): void {
  if (!fitsInto(MAX_DEPTH, root)) {
    throw malformed(codec, `it is nested deeper than ${MAX_DEPTH} levels`, { maxDepth: MAX_DEPTH })
  }
}

/** Stops at the bound, so that it cannot run out of stack itself. Makes no list of the values: that was most of its cost. */
function fitsInto(levels: number, node: object): boolean {
  if (levels === 0) return false
  if (ArrayBuffer.isView(node)) return true
  if (Array.isArray(node)) {
    for (const child of node) {
      if (typeof child === 'object' && child !== null && !fitsInto(levels - 1, child)) return false
    }
    return true
  }
  for (const key in node) {
    const child = (node as Record<string, unknown>)[key]
    if (typeof child === 'object' && child !== null && !fitsInto(levels - 1, child)) return false
  }
  return true
}

/**
 * An own key `__proto__` becomes a prototype as soon as somebody copies the object with assignments, or is lost; nobody
 * means it, and a command must not run without a part that was taken out of it.
 */
function refuseProto(root: object, codec: CodecName): void {
  const open: object[] = [root]
  for (let node = open.pop(); node !== undefined; node = open.pop()) {
    if (ArrayBuffer.isView(node)) continue
    if (Object.hasOwn(node, '__proto__')) throw malformed(codec, 'it has a key __proto__', { key: '__proto__' })
    for (const child of Object.values(node)) {
      if (typeof child === 'object' && child !== null) open.push(child)
    }
  }
}

function malformed(codec: CodecName, what: string, details: Record<string, unknown>, cause?: unknown): RouteMQError {
  return new RouteMQError('PAYLOAD_MALFORMED', `the payload is no valid ${codec}: ${what}`, {
    details: { codec, ...details },
    ...(cause === undefined ? {} : { cause }),
  })
}
