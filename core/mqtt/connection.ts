import mqtt, { type IConnackPacket, type IDisconnectPacket, type MqttClient } from 'mqtt'
import { RouteMQError } from '../support/errors.js'
import { type ConnectRequest, connectOptions, type ProtocolVersion, printableUrl } from './connect-options.js'

/** Why a connection is no more. */
export type Closing =
  | { readonly kind: 'ended' }
  /** Another client connected with the same client id (MQTT 5.0, reason 0x8E). */
  | { readonly kind: 'taken-over' }
  | { readonly kind: 'lost'; readonly error: Error | undefined }

/** The broker does not speak this version of MQTT, or seems not to: some close without a word. */
export class ProtocolRefused extends Error {
  /** The broker said so. */
  readonly definite: boolean

  constructor(message: string, definite: boolean) {
    super(message)
    this.definite = definite
  }
}

const TAKEN_OVER = 0x8e
/** CONNACK codes that say "not this protocol version": 3.1.1 table 3.1, MQTT 5.0 table 3-1 (0x84). */
const VERSION_REFUSED = new Set([1, 0x84])
const CREDENTIALS_REFUSED = new Set([4, 5, 0x86, 0x87, 0x8c])

/** One network connection to a broker, from CONNACK to its end. It is never opened again. */
export class Connection {
  readonly client: MqttClient
  readonly protocol: ProtocolVersion
  readonly sessionPresent: boolean
  /** What the broker said about itself (MQTT 5.0, 3.2.2.3). */
  readonly server: NonNullable<IConnackPacket['properties']>
  #closing: Closing | undefined
  #ending = false
  readonly #closed: Promise<Closing>

  private constructor(client: MqttClient, protocol: ProtocolVersion, connack: IConnackPacket, watch: Watch) {
    this.client = client
    this.protocol = protocol
    this.sessionPresent = connack.sessionPresent
    this.server = connack.properties ?? {}
    this.#closed = new Promise((resolve) => {
      watch.onClose = () => {
        this.#closing = this.#ending
          ? { kind: 'ended' }
          : watch.disconnectReason === TAKEN_OVER
            ? { kind: 'taken-over' }
            : { kind: 'lost', error: watch.error }
        resolve(this.#closing)
      }
      if (watch.closed) watch.onClose()
    })
  }

  /**
   * Connects. `prepare` is called before anything can arrive, to set up what must see the first message.
   *
   * @throws ProtocolRefused where another version may work, BROKER_UNAVAILABLE otherwise.
   */
  static open(request: ConnectRequest, prepare: (client: MqttClient) => void = () => {}): Promise<Connection> {
    const where = printableUrl(request.url)
    return new Promise((resolve, reject) => {
      const client = mqtt.connect({ ...connectOptions(request), manualConnect: true })
      const watch: Watch = { closed: false, error: undefined, disconnectReason: undefined, onClose: undefined }
      let reached = false
      prepare(client)
      client.connect()
      // Acknowledgements are small: without this each waits for the peer's delayed ACK (Nagle's algorithm).
      const stream = client.stream as typeof client.stream & { setNoDelay?: (on: boolean) => void }
      stream.setNoDelay?.(true)
      for (const event of ['connect', 'secureConnect', 'open'] as const) {
        stream.once(event, () => {
          reached = true
        })
      }

      const refuse = (error: Error) => {
        client.removeAllListeners('connect')
        client.end(true)
        reject(error)
      }
      client.on('disconnect', (packet: IDisconnectPacket) => {
        watch.disconnectReason = packet.reasonCode
      })
      client.on('error', (error: Error & { code?: number | string }) => {
        watch.error ??= error
        if (client.connected || watch.onClose !== undefined) return
        if (typeof error.code === 'number' && VERSION_REFUSED.has(error.code)) {
          return refuse(new ProtocolRefused(`${where} refused MQTT ${request.protocol === 5 ? '5' : '3.1.1'}`, true))
        }
        refuse(unavailable(where, error))
      })
      client.on('close', () => {
        watch.closed = true
        if (watch.onClose !== undefined) return watch.onClose()
        if (watch.error !== undefined) return refuse(unavailable(where, watch.error))
        // Old brokers close without a word when they see a version they do not know.
        refuse(
          reached
            ? new ProtocolRefused(`${where} closed the connection without an answer`, false)
            : unavailable(where, new Error('the connection was closed')),
        )
      })
      client.once('connect', (connack) => resolve(new Connection(client, request.protocol, connack, watch)))
    })
  }

  /** Resolves when the connection is gone, with the reason. Never rejects. */
  get closed(): Promise<Closing> {
    return this.#closed
  }

  get isClosed(): boolean {
    return this.#closing !== undefined
  }

  /** Sends DISCONNECT, so that no last will is published, and closes; insists after `limitMs`. */
  async end(options: { readonly sessionExpirySeconds?: number; readonly limitMs?: number } = {}): Promise<void> {
    if (this.#closing !== undefined) return
    this.#ending = true
    const { sessionExpirySeconds } = options
    const properties =
      this.protocol === 5 && sessionExpirySeconds !== undefined
        ? { properties: { sessionExpiryInterval: sessionExpirySeconds } }
        : {}
    const insist = setTimeout(() => this.client.stream.destroy(), options.limitMs ?? 1_000)
    // What a callback of the library still waits for will not come any more: the owner has given up on it.
    this.client.outgoing = {}
    this.client.end(false, { cmd: 'disconnect', reasonCode: 0, ...properties } as Parameters<MqttClient['end']>[1])
    await this.#closed
    clearTimeout(insist)
  }

  /** Cuts the connection as a crash would: no DISCONNECT. */
  async destroy(): Promise<void> {
    if (this.#closing !== undefined) return
    this.#ending = true
    this.client.end(true)
    await this.#closed
  }
}

interface Watch {
  closed: boolean
  error: Error | undefined
  disconnectReason: number | undefined
  onClose: (() => void) | undefined
}

function unavailable(where: string, error: Error & { code?: number | string }): RouteMQError {
  if (error instanceof RouteMQError) return error
  const refused = typeof error.code === 'number' && CREDENTIALS_REFUSED.has(error.code)
  return new RouteMQError(
    'BROKER_UNAVAILABLE',
    refused
      ? `the broker at ${where} refused the credentials: ${error.message}`
      : `the broker at ${where} cannot be reached: ${error.message || String(error.code)}`,
    { details: { url: where, ...(error.code === undefined ? {} : { reason: error.code }), refused }, cause: error },
  )
}
