import type { LiveEvent } from '../http/services/history.js'
import type { FieldEvent } from '../modbus/field-event.js'
import type { Sample, SampleSink } from '../poller/sample.js'

/** Values and states as they happen, for those who listen just now. Nothing is kept and nothing is made while nobody does. */
export class LiveFeed {
  readonly #listeners = new Set<(event: LiveEvent) => void>()

  /** Returns what ends the subscription. */
  readonly subscribe = (listener: (event: LiveEvent) => void): (() => void) => {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  state(event: FieldEvent): void {
    const { type: kind, ...facts } = event
    this.#emit({ type: 'state', kind, device_id: null, ...facts })
  }

  /** A sink that shows samples and hands them on; without one behind it there is nothing to wait for. */
  before(sink: SampleSink | undefined): SampleSink {
    return {
      accept: async (samples, onDurable) => {
        if (this.#listeners.size > 0) for (const sample of samples) this.#show(sample)
        if (sink === undefined) onDurable?.()
        else await sink.accept(samples, onDurable)
      },
    }
  }

  #show({ device_id, block, points }: Sample): void {
    for (const point of points) this.#emit({ type: 'value', device_id, ...point })
    if (points.length === 0) this.#emit({ type: 'value', ...block })
  }

  #emit(event: LiveEvent): void {
    for (const listener of this.#listeners) listener(event)
  }
}
