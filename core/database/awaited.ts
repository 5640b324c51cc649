import { AsyncLocalStorage } from 'node:async_hooks'

/** Aborted when nobody waits any more for what runs here: kysely hands a connection its statement, and no word of who waits. */
const waiting = new AsyncLocalStorage<AbortSignal>()

/** Runs work whose statements are cancelled at the server when `signal` is aborted; they reject with its reason. */
export function whileAwaited<T>(signal: AbortSignal, work: () => Promise<T>): Promise<T> {
  return waiting.run(signal, work)
}

/**
 * Runs one statement of a connection.
 *
 * @param cancel ends it at the server; called at most once, while the statement is not settled. The connection is held until
 *   both are done: what is cancelled is this statement, and never what the next user of the connection asks.
 */
export async function cancellable<T>(run: () => Promise<T>, cancel: () => Promise<void>): Promise<T> {
  const signal = waiting.getStore()
  if (signal === undefined) return run()
  // Whoever asked may have left while there was no free connection.
  signal.throwIfAborted()
  let cancelled: Promise<void> | undefined
  const onAbort = () => {
    // Where that fails the statement goes on, until the limit of the server.
    cancelled = cancel().catch(() => {})
  }
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    return await run()
  } catch (error) {
    throw cancelled === undefined ? error : signal.reason
  } finally {
    signal.removeEventListener('abort', onAbort)
    await cancelled
  }
}
