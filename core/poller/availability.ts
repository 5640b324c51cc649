import type { DeviceState } from '../modbus/field-event.js'
import type { PollPort } from '../modbus/field-polling.js'
import type { Clock } from '../support/clock.js'
import type { Outgoing } from './target-output.js'

export interface AvailabilityOptions {
  readonly field: PollPort
  readonly clock: Clock
  readonly topicPrefix: string
  readonly publish: (message: Outgoing) => void
  /** False where another installation speaks for this device. */
  readonly speaks: (deviceId: string) => boolean
}

/** Renewed so often, and expired by the broker when two renewals fail to come (MQTT 5). */
const RENEW_MS = 60_000
export const AVAILABILITY_EXPIRY_S = 180

/** `{prefix}/{device_id}/availability`: `online` or `offline`, retained, with an expiry that outlives no gateway for long. */
export class Availability {
  readonly #options: AvailabilityOptions
  readonly #known = new Map<string, 'online' | 'offline'>()
  #devices = new Set<string>()
  #unsubscribe: (() => void) | undefined
  #cancel: (() => void) | undefined

  constructor(options: AvailabilityOptions) {
    this.#options = options
  }

  start(): void {
    if (this.#unsubscribe !== undefined) return
    const { field } = this.#options
    this.#unsubscribe = field.subscribe((event) => {
      if (event.type === 'device') this.#set(event.device_id, event.state)
    })
    for (const id of this.#devices) this.#set(id, field.stateOf(id))
    this.#renewLater()
  }

  /** Says `offline` for every device: nobody reads them any more. */
  stop(): void {
    this.#unsubscribe?.()
    this.#unsubscribe = undefined
    this.#cancel?.()
    for (const id of this.#known.keys()) this.#publish(id, 'offline')
    this.#known.clear()
  }

  apply(deviceIds: readonly string[]): void {
    const next = new Set(deviceIds)
    for (const id of this.#devices) if (!next.has(id)) this.#known.delete(id)
    this.#devices = next
    if (this.#unsubscribe !== undefined) for (const id of next) this.#set(id, this.#options.field.stateOf(id))
  }

  /** What is retained for the devices of now. */
  topics(): string[] {
    return [...this.#devices].map((id) => this.#topic(id))
  }

  #set(id: string, state: DeviceState): void {
    // What it was is no longer known: whatever comes next is news, also where another installation spoke meanwhile.
    if (state.name === 'unknown') this.#known.delete(id)
    if (state.name === 'unknown' || !this.#devices.has(id) || this.#known.get(id) === state.name) return
    this.#known.set(id, state.name)
    this.#publish(id, state.name)
  }

  #publish(id: string, payload: 'online' | 'offline'): void {
    if (!this.#options.speaks(id)) return
    const properties = { messageExpiryInterval: AVAILABILITY_EXPIRY_S }
    this.#options.publish({
      topic: this.#topic(id),
      payload,
      options: { qos: 1, retain: true, newestOnly: true, properties },
    })
  }

  #topic(id: string): string {
    return `${this.#options.topicPrefix}/${id}/availability`
  }

  #renewLater(): void {
    this.#cancel = this.#options.clock.after(
      RENEW_MS,
      () => {
        for (const [id, state] of this.#known) this.#publish(id, state)
        this.#renewLater()
      },
      { unref: true },
    )
  }
}
