/** What parts log with; pino satisfies it. Facts go into the object, the sentence says what happened. */
export interface Logger {
  trace(facts: object, sentence?: string): void
  debug(facts: object, sentence?: string): void
  info(facts: object, sentence?: string): void
  warn(facts: object, sentence?: string): void
  error(facts: object, sentence?: string): void
  fatal(facts: object, sentence?: string): void
  child(facts: Record<string, unknown>): Logger
}

const nothing = () => {}

/** For tests and for parts that run without a kernel. */
export const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  fatal: nothing,
  child: () => silentLogger,
}
