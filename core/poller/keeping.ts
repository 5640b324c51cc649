import type { Logger } from '../observability/logger.js'
import type { PollCounter } from './poll-metrics.js'
import type { Sample, SampleSink } from './sample.js'

/** Hands samples to the sink; that it takes none, and that it does again, is said once. */
export class Keeping {
  readonly #sink: SampleSink | undefined
  readonly #counter: PollCounter
  readonly #logger: Logger
  /** Samples on their way into the sink. */
  readonly #underWay = new Set<Promise<void>>()
  #isKeeping = true

  constructor(sink: SampleSink | undefined, counter: PollCounter, logger: Logger) {
    this.#sink = sink
    this.#counter = counter
    this.#logger = logger
  }

  /** A sink that is slow keeps its slot open, and the next one is skipped and counted: back-pressure. */
  async keep(samples: readonly Sample[], onDurable: (() => void) | undefined): Promise<void> {
    const keeping = this.#keep(samples, onDurable)
    this.#underWay.add(keeping)
    await keeping
    this.#underWay.delete(keeping)
  }

  /** Resolves when the sink has what was on its way. */
  async settled(): Promise<void> {
    await Promise.all(this.#underWay)
  }

  async #keep(samples: readonly Sample[], onDurable: (() => void) | undefined): Promise<void> {
    if (this.#sink === undefined) return onDurable?.()
    try {
      await this.#sink.accept(samples, onDurable)
      if (!this.#isKeeping) this.#logger.info({}, 'samples are kept again')
      this.#isKeeping = true
    } catch (error) {
      this.#counter.sinkFailed()
      if (this.#isKeeping) this.#logger.error({ err: error }, 'samples are not kept')
      this.#isKeeping = false
    }
  }
}
