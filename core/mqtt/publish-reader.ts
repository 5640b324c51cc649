import type { Readable, Writable } from 'node:stream'
import type { IPublishPacket, MqttClient } from 'mqtt'
import { RouteMQError } from '../support/errors.js'
import { frameEnd, readPublish } from './publish-packet.js'

/** Read ahead of a message that waits, so long as an answer of the broker is due. */
const AHEAD_BYTES = 4 * 1_048_576
const PUBLISH = 3

/** Takes a message; `next` is called when the following one may come. */
export type TakePublish = (packet: IPublishPacket, next: () => void) => void

/** What mqtt.js 5.16 opens its connections with; private, so it is named in this file only. */
interface StreamOpener {
  streamBuilder: (client: MqttClient) => Readable
}

/**
 * Has the messages of a client read here instead of by the library, one after another: its stream of packets, its parser
 * and its events are most of what a received message costs (benchmarks/cases/receive.ts). All other packets go to the library,
 * each in its place; so do messages of QoS 2, which it acknowledges itself, and malformed ones, which end the connection.
 * What is no MQTT ends it here.
 *
 * A message that must wait holds the stream, but not the answers that `isAnswerDue` says are missing: mosquitto 2.0.11 sends
 * all that a resumed session holds, thousands beyond Receive Maximum, before it grants the subscriptions.
 *
 * To be called before the client connects. The library reads by piping its stream into a parser; that pipe is what is
 * replaced, so that opening, securing, writing and closing stay as they are.
 */
export function readPublishes(client: MqttClient, take: TakePublish, isAnswerDue = () => false): void {
  const opener = client as unknown as StreamOpener
  const open = opener.streamBuilder
  opener.streamBuilder = (owner) => {
    const stream = open(owner)
    stream.pipe = (library) => {
      new PublishReader(stream, library as unknown as Writable, client, take, isAnswerDue)
      return library
    }
    return stream
  }
}

class PublishReader {
  readonly #stream: Readable
  readonly #library: Writable
  readonly #protocol: number
  /** Larger packets are the library's to refuse. */
  readonly #largest: number
  readonly #take: TakePublish
  readonly #isAnswerDue: () => boolean
  #chunk: Buffer = Buffer.alloc(0)
  #at = 0
  /** How far beyond `#at` the chunk has been searched for answers, and which frames went to the library for it. */
  #searched = 0
  #answered = new Set<number>()
  /** What chunks ended in: pieces of one frame. */
  #pieces: Buffer[] = []
  #missing = 0
  /** Somebody has a packet and has not called back yet. */
  #waiting = false
  #reading = false
  #paused = false
  #ended = false

  constructor(stream: Readable, library: Writable, client: MqttClient, take: TakePublish, isAnswerDue: () => boolean) {
    this.#isAnswerDue = isAnswerDue
    this.#stream = stream
    this.#library = library
    this.#protocol = client.options.protocolVersion ?? 4
    this.#largest = client.options.properties?.maximumPacketSize ?? Number.POSITIVE_INFINITY
    this.#take = take
    stream.on('data', (chunk: Buffer) => this.#arrived(chunk))
    stream.on('end', () => {
      this.#ended = true
      if (!this.#waiting) library.end()
    })
  }

  /** All of the chunk before has been read, or this one is read ahead of a message that waits. */
  #arrived(chunk: Buffer): void {
    if (this.#waiting) {
      this.#append(chunk)
      this.#holdOrGoOn()
      return
    }
    if (this.#pieces.length > 0) {
      this.#pieces.push(chunk)
      this.#missing -= chunk.length
      if (this.#missing > 0) return
      chunk = Buffer.concat(this.#pieces)
      this.#pieces = []
    }
    this.#chunk = chunk
    this.#at = 0
    this.#searched = 0
    this.#read()
  }

  #append(chunk: Buffer): void {
    const read = this.#at
    this.#chunk = Buffer.concat([this.#chunk.subarray(read), chunk])
    this.#at = 0
    this.#searched = Math.max(0, this.#searched - read)
    this.#answered = new Set([...this.#answered].map((at) => at - read))
  }

  /** Gives the library what is no message, out of its turn. */
  #search(): void {
    let at = Math.max(this.#at, this.#searched)
    for (let end = frameEnd(this.#chunk, at); end > 0 && end <= this.#chunk.length; end = frameEnd(this.#chunk, at)) {
      if (this.#chunk[at]! >> 4 !== PUBLISH) {
        this.#answered.add(at)
        this.#library.write(this.#chunk.subarray(at, end))
      }
      at = end
    }
    this.#searched = at
  }

  /** Goes through the chunk until it is at its end or somebody has to be waited for. */
  #read(): void {
    this.#reading = true
    while (!this.#waiting && this.#at < this.#chunk.length) this.#readOne()
    this.#reading = false
    if (this.#ended && !this.#waiting) this.#library.end()
    this.#holdOrGoOn()
  }

  #holdOrGoOn(): void {
    const isAhead = () => this.#isAnswerDue() && this.#chunk.length - this.#at < AHEAD_BYTES
    if (this.#waiting && isAhead()) this.#search()
    const hold = this.#waiting && !isAhead()
    if (hold === this.#paused) return
    this.#paused = hold
    if (hold) this.#stream.pause()
    else this.#stream.resume()
  }

  #readOne(): void {
    const chunk = this.#chunk
    const at = this.#at
    const end = frameEnd(chunk, at)
    if (end === -1) {
      this.#giveUp('the broker sent something that is no MQTT')
      return
    }
    if (end === 0 || end > chunk.length) {
      this.#pieces.push(chunk.subarray(at))
      this.#missing = end === 0 ? 1 : end - chunk.length
      this.#at = chunk.length
      return
    }
    this.#at = end
    if (this.#answered.delete(at)) return
    this.#waiting = true
    const ours = end - at <= this.#largest
    const packet = ours ? readPublish(chunk, at, end, this.#protocol) : undefined
    if (packet !== undefined) this.#take(packet, this.#next)
    else this.#library.write(chunk.subarray(at, end), this.#next)
  }

  /** The library hears of it as of any loss, and connects again. */
  #giveUp(reason: string): void {
    this.#at = this.#chunk.length
    this.#stream.destroy(new RouteMQError('BROKER_UNAVAILABLE', reason))
  }

  readonly #next = (): void => {
    this.#waiting = false
    if (!this.#reading) this.#read()
  }
}
