import type { IPublishPacket } from 'mqtt'

export type PublishProperties = NonNullable<IPublishPacket['properties']>

/**
 * So many bytes of properties a message may have. Tiny ones take eight times as much in memory, so they count for that in the
 * window; of more than this those of users are not even made.
 */
export const MAX_PROPERTY_BYTES = 65_536
export const PROPERTY_WEIGHT = 8

/** Reads the properties of one PUBLISH (MQTT 5.0, 3.3.2.3), in the form in which mqtt.js hands them out. */
export class PropertyReader {
  /** Where the next thing begins; behind the properties once they are read. */
  at: number
  readonly #bytes: Buffer
  #end: number
  #failed = false
  #lean = false

  constructor(bytes: Buffer, at: number, end: number) {
    this.#bytes = bytes
    this.at = at
    this.#end = end
  }

  /** Undefined where something is wrong or is none of ours, like a topic alias. */
  read(): PublishProperties | undefined {
    const length = this.#varint()
    if (this.#failed || this.at + length > this.#end) return undefined
    this.#end = this.at + length
    this.#lean = length > MAX_PROPERTY_BYTES
    const found: PublishProperties = {}
    while (this.at < this.#end) {
      if (!this.#one(found) || this.#failed) return undefined
    }
    return found
  }

  #one(found: PublishProperties): boolean {
    const id = this.#bytes[this.at]
    this.at += 1
    switch (id) {
      case 0x01:
        if (found.payloadFormatIndicator !== undefined) return false
        found.payloadFormatIndicator = this.#number(1) !== 0
        return true
      case 0x02:
        if (found.messageExpiryInterval !== undefined) return false
        found.messageExpiryInterval = this.#number(4)
        return true
      case 0x03:
        if (found.contentType !== undefined) return false
        found.contentType = this.#text()
        return true
      case 0x08:
        if (found.responseTopic !== undefined) return false
        found.responseTopic = this.#text()
        return true
      case 0x09:
        if (found.correlationData !== undefined) return false
        found.correlationData = this.#bytesOf(this.#number(2))
        return true
      case 0x0b:
        this.#subscription(found)
        return true
      case 0x26:
        this.#user(found)
        return true
      default:
        return false
    }
  }

  /** The only property that may come more than once, besides those of users: one for each subscription that matched. */
  #subscription(found: PublishProperties): void {
    const id = this.#varint()
    const known = found.subscriptionIdentifier
    if (known === undefined) found.subscriptionIdentifier = id
    else if (typeof known === 'number') found.subscriptionIdentifier = [known, id]
    else known.push(id)
  }

  #user(found: PublishProperties): void {
    if (this.#lean) {
      this.#skip(this.#number(2))
      this.#skip(this.#number(2))
      return
    }
    const name = this.#text()
    const value = this.#text()
    // No prototype: the names are a stranger's.
    found.userProperties ??= Object.create(null) as NonNullable<PublishProperties['userProperties']>
    const known = found.userProperties[name]
    if (known === undefined) found.userProperties[name] = value
    else if (typeof known === 'string') found.userProperties[name] = [known, value]
    else (known as string[]).push(value)
  }

  #text(): string {
    const length = this.#number(2)
    const from = this.at
    return this.#skip(length) ? this.#bytes.toString('utf8', from, this.at) : ''
  }

  #bytesOf(length: number): Buffer {
    const from = this.at
    return this.#skip(length) ? this.#bytes.subarray(from, this.at) : this.#bytes.subarray(0, 0)
  }

  #number(size: 1 | 2 | 4): number {
    const from = this.at
    return this.#skip(size) ? this.#bytes.readUIntBE(from, size) : 0
  }

  #varint(): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.#number(1)
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return value
    }
    this.#failed = true
    return 0
  }

  #skip(size: number): boolean {
    if (this.at + size > this.#end) {
      this.#failed = true
      return false
    }
    this.at += size
    return true
  }
}
