import { createHash } from 'node:crypto'
import type { ThrottleStrategy } from './limiter.js'

/**
 * The arithmetic of `limiter.ts`, in Redis: rate-limiter-flexible has fixed windows only. One call a message, atomic,
 * by the clock of Redis, which all workers share. Answers 0 or the milliseconds to wait; what is refused is not counted.
 */
const PROLOGUE = `
local max, window = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
`

const SLIDING = `${PROLOGUE}
local state = redis.call('HMGET', KEYS[1], 'start', 'count', 'before')
local start, count, before = tonumber(state[1]) or now, tonumber(state[2]) or 0, tonumber(state[3]) or 0
local passed = math.floor((now - start) / window)
if passed > 0 then
  before = passed == 1 and count or 0
  count = 0
  start = start + passed * window
end
local elapsed = math.max(0, now - start)
if before * (window - elapsed) + (count + 1) * window <= max * window then
  redis.call('HSET', KEYS[1], 'start', start, 'count', count + 1, 'before', before)
  redis.call('PEXPIREAT', KEYS[1], start + 2 * window)
  return 0
end
local free = max - 1 - count
if free >= 0 then return math.ceil(window * (before - free) / before) - elapsed end
return window + math.ceil(window * (count - max + 1) / count) - elapsed
`

const TOKEN = `${PROLOGUE}
local state = redis.call('HMGET', KEYS[1], 'filled', 'at')
local full = max * window
local at = tonumber(state[2]) or now
local filled = math.min(full, (tonumber(state[1]) or full) + math.max(0, now - at) * max)
if filled < window then return math.ceil((window - filled) / max) end
filled = filled - window
redis.call('HSET', KEYS[1], 'filled', filled, 'at', now)
redis.call('PEXPIRE', KEYS[1], math.ceil((full - filled) / max))
return 0
`

/** What ioredis and node-redis call the same two commands. */
interface Ioredis {
  readonly status: string
  evalsha(sha: string, keys: number, ...values: string[]): Promise<unknown>
  eval(script: string, keys: number, ...values: string[]): Promise<unknown>
}

interface NodeRedis {
  readonly isReady?: boolean
  evalSha(sha: string, values: { keys: string[]; arguments: string[] }): Promise<unknown>
  eval(script: string, values: { keys: string[]; arguments: string[] }): Promise<unknown>
}

export function isIoredis(client: unknown): client is Ioredis {
  return typeof (client as { defineCommand?: unknown }).defineCommand === 'function'
}

export function takeInRedis(
  strategy: Exclude<ThrottleStrategy, 'fixed'>,
  options: { client: unknown; prefix: string; max: number; windowMs: number },
): (key: string) => Promise<number> {
  const script = strategy === 'sliding' ? SLIDING : TOKEN
  const sha = createHash('sha1').update(script).digest('hex')
  const limits = [String(options.max), String(options.windowMs)]
  const commands = commandsOf(options.client)
  return async (key) => {
    // A client that is not connected would keep the command for later; the message is not going to wait for that.
    if (!commands.ready()) throw new Error('Redis connection is not ready')
    const name = `${options.prefix}:${key}`
    const answer = await commands.bySha(sha, name, limits).catch((error: unknown) => {
      if (!String(error).includes('NOSCRIPT')) throw error
      return commands.byText(script, name, limits)
    })
    return Number(answer)
  }
}

function commandsOf(client: unknown) {
  if (isIoredis(client)) {
    return {
      ready: () => client.status === 'ready',
      bySha: (sha: string, key: string, args: string[]) => client.evalsha(sha, 1, key, ...args),
      byText: (script: string, key: string, args: string[]) => client.eval(script, 1, key, ...args),
    }
  }
  const other = client as NodeRedis
  return {
    ready: () => other.isReady !== false, // A cluster has no such field.
    bySha: (sha: string, key: string, args: string[]) => other.evalSha(sha, { keys: [key], arguments: args }),
    byText: (script: string, key: string, args: string[]) => other.eval(script, { keys: [key], arguments: args }),
  }
}
