import { type DestinationStream, destination, pino, stdTimeFunctions } from 'pino'
import type { LogConfig } from '../config/config.js'
import { lineFormat } from './line-format.js'
import type { Logger } from './logger.js'
import { redactRecord, redactText } from './redact.js'

/** Bytes that may wait while nobody reads the log; beyond it records are dropped, because the devices come first. */
const MAX_WAITING_BYTES = 16 * 1_048_576

/** Takes whole lines. */
export interface LogDestination {
  write(line: string): void
}

/**
 * A logger on pino. It writes to standard output without waiting for the reader, flushes what is left when the process
 * exits, and holds nothing open. Secrets are replaced before a record is written.
 *
 * @param bindings facts in every record, such as the name of a worker
 */
export function createLogger(config: LogConfig, bindings: Record<string, unknown> = {}, to?: LogDestination): Logger {
  const caller = config.includeCaller === true ? { mixin: () => ({ caller: callerOf(new Error().stack) }) } : {}
  const logger = pino(
    {
      level: config.level,
      base: { pid: process.pid, ...bindings },
      timestamp: stdTimeFunctions.isoTime,
      // Errors under this name too are shaped below; pino's own would give that shape a type and a stack once more.
      serializers: { err: (error: unknown) => error },
      formatters: {
        level: (level) => ({ level }),
        bindings: redactRecord,
        log: redactRecord,
      },
      hooks: {
        logMethod(args, method) {
          const [facts, sentence, ...rest] = args
          if (typeof sentence === 'string') method.apply(this, [facts, redactText(sentence), ...rest] as typeof args)
          else method.apply(this, args)
        },
      },
      ...caller,
    },
    streamOf(config.format, to),
  )
  // pino applies `formatters.bindings` to the first bindings only; children are made from this object and inherit it.
  const makeChild = logger.child
  logger.child = function child(this: typeof logger, facts: Record<string, unknown>) {
    const made = makeChild.call(this, redactRecord(facts))
    // pino gives each child its own level methods, fixed at its birth; without them it has those of its parent, and with
    // them the level that the parent has now.
    for (const level of Object.keys(logger.levels.values)) delete (made as unknown as Record<string, unknown>)[level]
    return made
  } as typeof makeChild
  return logger
}

/**
 * Whether records go to more than standard output. Then the gateway writes them all: its own and those of its workers,
 * which hand them over as JSON.
 */
export function isCollected({ file, syslog }: LogConfig): boolean {
  return file !== undefined || syslog !== undefined
}

/** Changes what a logger and all its children write from now on. Loggers made elsewhere have a level of their own. */
export function setLevel(logger: Logger, level: LogConfig['level']): void {
  if ('level' in logger) logger.level = level
}

function streamOf(format: LogConfig['format'], to: LogDestination | undefined): DestinationStream {
  const lines = to ?? standardOutput()
  if (format === 'json') return lines
  const formatted = lineFormat(format, to === undefined && isColourful())
  return {
    write(json) {
      const line = formatted(json)
      if (line !== undefined) lines.write(line)
    },
  }
}

/** Does not wait for the reader. */
export function standardOutput(): LogDestination {
  return destination({ dest: 1, sync: false, maxLength: MAX_WAITING_BYTES })
}

export function isColourful(): boolean {
  return process.stdout.isTTY === true && !process.env.NO_COLOR
}

/** `file:line` of the first frame that belongs to neither pino nor this file. */
function callerOf(stack: string | undefined): string | undefined {
  const frame = stack
    ?.split('\n')
    .slice(1)
    .find((line) => !line.includes('/node_modules/pino/') && !line.includes('create-logger'))
  return /\(?([^()\s]+:\d+):\d+\)?$/.exec(frame ?? '')?.[1]?.replace('file://', '')
}
