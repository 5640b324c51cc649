import { readFile, stat, utimes } from 'node:fs/promises'
import type { RetainedMessage } from '../mqtt/read-retained.js'
import type { Logger } from '../observability/logger.js'
import { AVAILABILITY_EXPIRY_S } from '../poller/availability.js'
import type { RetainedStore } from '../poller/retained-topics.js'
import type { Clock } from '../support/clock.js'
import { writeDurably } from '../support/durable-file.js'

export interface RetainedFileOptions {
  readonly file: string
  /** URL of the broker: what was left at another one is not to be cleared here. */
  readonly broker: string
  readonly read: (topics: readonly string[]) => Promise<readonly RetainedMessage[]>
  readonly logger: Logger
  readonly clock: Clock
}

/** The time of the file tells until when this installation may have published: so far ahead while it runs. */
const ALIVE_MS = 30_000
/** Clocks of two machines are never quite the same. */
const GRACE_MS = 2_000

interface Content {
  readonly broker: string
  readonly topics: readonly string[]
}

/** The topics that this installation may have left retained at its broker, in a file. */
export class RetainedFile implements RetainedStore {
  readonly #options: RetainedFileOptions
  readonly before: ReadonlySet<string>
  /** Wall clock milliseconds: what was published later than this, somebody else published. */
  readonly #aliveUntil: number
  #topics: Iterable<string> | undefined
  #saving: Promise<void> | undefined
  #isFailing = false
  #cancelAlive = () => {}
  #touching: Promise<void> | undefined
  #isStopped = false

  private constructor(options: RetainedFileOptions, before: readonly string[], aliveUntil: number) {
    this.#options = options
    this.before = new Set(before)
    this.#aliveUntil = aliveUntil
    this.#aliveLater()
  }

  static async open(options: RetainedFileOptions): Promise<RetainedFile> {
    const { file, logger } = options
    const broker = addressOf(options.broker)
    try {
      const [text, { mtimeMs }] = await Promise.all([readFile(file, 'utf8'), stat(file)])
      const content: unknown = JSON.parse(text)
      if (isContent(content) && content.broker === broker) return new RetainedFile(options, content.topics, mtimeMs)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOENT') {
        logger.warn({ error, file }, 'what was left retained before the start is not known, and stays at the broker')
      }
    }
    return new RetainedFile(options, [], 0)
  }

  async ours(topics: readonly string[]): Promise<ReadonlySet<string>> {
    const { read, clock, logger } = this.#options
    const found = await read(topics)
    const latest = this.#aliveUntil + GRACE_MS
    const others = found.filter((message) => (publishedAt(message, clock.now()) ?? 0) > latest)
    if (others.length > 0) {
      logger.info({ topics: others.map(({ topic }) => topic) }, 'others publish to these topics now: they stay')
    }
    const theirs = new Set(others)
    return new Set(found.flatMap((message) => (theirs.has(message) ? [] : [message.topic])))
  }

  /** One write at a time; what comes meanwhile goes with the next. */
  save(topics: Iterable<string>): Promise<void> {
    this.#topics = topics
    this.#saving ??= this.#saveAll().finally(() => {
      this.#saving = undefined
    })
    return this.#saving
  }

  /** Says until when it ran. Call it when nothing more is published. */
  async stop(): Promise<void> {
    this.#isStopped = true
    this.#cancelAlive()
    await Promise.all([this.#saving, this.#touching])
    if (this.#topics !== undefined) await this.save(this.#topics)
    await this.#aliveFor(0)
  }

  async #saveAll(): Promise<void> {
    const { file, logger } = this.#options
    const broker = addressOf(this.#options.broker)
    while (this.#topics !== undefined) {
      const topics = [...this.#topics]
      this.#topics = undefined
      try {
        await writeDurably(file, `${JSON.stringify({ broker, topics } satisfies Content)}\n`)
        this.#isFailing = false
        await this.#aliveFor(ALIVE_MS)
      } catch (error) {
        if (!this.#isFailing) logger.warn({ error, file }, 'what is retained at the broker cannot be written down')
        this.#isFailing = true
        // With the next sign of life, unless there is something newer by then.
        this.#topics ??= topics
        return
      }
    }
  }

  #aliveLater(): void {
    const turn = () => {
      const written = this.#topics === undefined ? this.#aliveFor(ALIVE_MS) : this.save(this.#topics)
      this.#touching = written.finally(() => this.#aliveLater())
    }
    if (this.#isStopped) return
    this.#cancelAlive = this.#options.clock.after(ALIVE_MS / 2, turn, { unref: true })
  }

  async #aliveFor(ms: number): Promise<void> {
    const until = (this.#options.clock.now() + ms) / 1_000
    await utimes(this.#options.file, until, until).catch(() => {}) // There is none yet, or it cannot be written, which was said.
  }
}

const addressOf = (url: string) => url.replace(/\/\/[^@/]*@/, '//')

/** Wall clock milliseconds, as far as the message tells: values carry their time, an availability its expiry. */
function publishedAt({ payload, expiresInS }: RetainedMessage, now: number): number | undefined {
  if (expiresInS !== undefined) return now - (AVAILABILITY_EXPIRY_S - expiresInS) * 1_000
  try {
    const { timestamp } = (JSON.parse(payload) ?? {}) as { timestamp?: unknown }
    return typeof timestamp === 'number' ? timestamp * 1_000 : undefined
  } catch {
    return undefined
  }
}

function isContent(value: unknown): value is Content {
  const { broker, topics } = (value ?? {}) as Partial<Content>
  return typeof broker === 'string' && Array.isArray(topics) && topics.every((topic) => typeof topic === 'string')
}
