import type { MessageProperties, PublishOptions } from './message.js'
import type { Publication } from './publish-window.js'

/** A publication as it lies on disk, and the wall-clock time after which nobody wants it. */
export interface OutboxEntry {
  readonly publication: Publication
  readonly expiresAt: number | undefined
}

interface Head {
  readonly t: string
  readonly q: 0 | 1 | 2
  readonly r: boolean
  readonly e?: number
  readonly p?: Omit<MessageProperties, 'correlationData'> & { readonly correlationData?: string }
}

/** Length of the head (4 bytes), the head as JSON, the payload as it is. */
export function encodeEntry({ topic, payload, options }: Publication, expiresAt: number | undefined): Buffer {
  const { correlationData, ...rest } = options.properties ?? {}
  const head: Head = {
    t: topic,
    q: options.qos ?? 1,
    r: options.retain ?? false,
    ...(expiresAt === undefined ? {} : { e: expiresAt }),
    ...(options.properties === undefined
      ? {}
      : {
          p: {
            ...rest,
            ...(correlationData === undefined ? {} : { correlationData: correlationData.toString('base64') }),
          },
        }),
  }
  const text = Buffer.from(JSON.stringify(head))
  const length = Buffer.allocUnsafe(4)
  length.writeUInt32BE(text.length)
  return Buffer.concat([length, text, typeof payload === 'string' ? Buffer.from(payload) : payload])
}

/** Undefined for bytes that are no entry. */
export function decodeEntry(data: Buffer): OutboxEntry | undefined {
  if (data.length < 4) return undefined
  const end = 4 + data.readUInt32BE(0)
  if (end > data.length) return undefined
  let head: Head
  try {
    head = JSON.parse(data.toString('utf8', 4, end)) as Head
  } catch {
    return undefined
  }
  if (typeof head.t !== 'string') return undefined
  const { correlationData, ...rest } = head.p ?? {}
  const options: PublishOptions = {
    qos: head.q,
    retain: head.r,
    ...(head.p === undefined
      ? {}
      : {
          properties: {
            ...rest,
            ...(correlationData === undefined ? {} : { correlationData: Buffer.from(correlationData, 'base64') }),
          },
        }),
  }
  return { publication: { topic: head.t, payload: data.subarray(end), options }, expiresAt: head.e }
}
