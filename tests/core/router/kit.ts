import type { Context, Middleware } from '../../../core/router/context.js'
import type { Clock } from '../../../core/support/clock.js'

export interface Line {
  readonly level: string
  readonly facts: Record<string, unknown>
  readonly sentence: string
}

export interface Written {
  readonly payload?: unknown
  readonly raw?: Buffer
  readonly topic?: string
  readonly params?: Record<string, string>
  readonly contentType?: string
  readonly userProperties?: Record<string, string | string[]>
  readonly state?: Record<string, unknown>
}

/** A context as the delivery engine makes it, as far as middleware looks. */
export function message(written: Written = {}) {
  const lines: Line[] = []
  const write = (level: string) => (facts: object, sentence: string) =>
    lines.push({ level, facts: { ...facts }, sentence })
  const { userProperties, contentType } = written
  const ctx = {
    payload: written.payload,
    raw: written.raw ?? Buffer.from(JSON.stringify(written.payload) ?? ''),
    topic: written.topic ?? 'devices/1/write',
    params: written.params ?? {},
    state: written.state ?? {},
    attempt: 1,
    route: { id: 'route', codec: undefined, payload: undefined },
    message: {
      qos: 1,
      properties: { ...(userProperties && { userProperties }), ...(contentType !== undefined && { contentType }) },
    },
    log: { debug: write('debug'), info: write('info'), warn: write('warn') },
  } as unknown as Context
  return { ctx, lines }
}

const done = async () => 'done'
/** As `compose` runs it: what it throws at once is a rejection too. */
export const run = async (middleware: Middleware, ctx: Context) => middleware(ctx, done)

export function manualClock() {
  let now = 1_000_000
  const clock: Clock = { now: () => now, monotonic: () => now, after: () => () => {} }
  return {
    clock,
    pass: (ms: number) => {
      now += ms
    },
  }
}
