import { afterPollTurn } from './poll-turn.js'

/**
 * Calls `onEnd` once with a sentence when `timeoutMs` have passed or `signal` aborts, unless the returned function was
 * called before. Timer and listener are gone after either. (AbortSignal.any and AbortSignal.timeout leave a trace in a
 * long-lived signal on Node.js 20.)
 */
export function timeLimit(
  timeoutMs: number,
  signal: AbortSignal | undefined,
  onEnd: (error: Error) => void,
): () => void {
  const end = (error: Error) => {
    cancel()
    onEnd(error)
  }
  const onAbort = () => end(new Error('aborted while opening', { cause: signal?.reason }))
  let cancelPoll = () => {}
  // A process that was held up finds the time over and the other side's answer unread.
  const due = () => {
    cancelPoll = afterPollTurn(() => end(new Error(`did not open within ${timeoutMs} ms`)))
  }
  const timer = setTimeout(due, Math.max(0, timeoutMs))
  const cancel = () => {
    clearTimeout(timer)
    cancelPoll()
    signal?.removeEventListener('abort', onAbort)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted === true) onAbort()
  return cancel
}
