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
  const timer = setTimeout(() => end(new Error(`did not open within ${timeoutMs} ms`)), Math.max(0, timeoutMs))
  const cancel = () => {
    clearTimeout(timer)
    signal?.removeEventListener('abort', onAbort)
  }
  signal?.addEventListener('abort', onAbort, { once: true })
  if (signal?.aborted === true) onAbort()
  return cancel
}
