import { Lane, type LaneOptions } from './lane.js'

/**
 * - `drained`: everything the session held was handled and acknowledged; the session is ended.
 * - `kept`: the deadline passed; what is left stays in the session.
 * - `owner-returned`: its owner connected again and goes on with it.
 */
export type DrainOutcome = 'drained' | 'kept' | 'owner-returned'

/** What is being handled when a session has to go back is given so long: without its acknowledgement it runs there again. */
const FINISH_MS = 5_000

/**
 * Opens the session of a process that is gone, handles what the broker kept for it and ends it. Without this, messages that
 * a share group dealt to that process would wait for ever.
 *
 * `options` are those of the lane that is gone: its client id and its subscriptions. `signal` closes the session without
 * ending it, once what is being handled is acknowledged.
 */
export async function drainSession(
  options: LaneOptions,
  deadlineMs: number,
  signal?: AbortSignal,
): Promise<DrainOutcome> {
  if (signal?.aborted === true) return 'kept'
  let ownerReturned = false
  const lane = new Lane({
    ...options,
    onFatal: (error) => {
      ownerReturned = error.code === 'CLIENT_ID_IN_USE'
      if (!ownerReturned) options.onFatal?.(error)
    },
  })
  const close = () => void lane.drain(FINISH_MS).then(() => lane.stop())
  signal?.addEventListener('abort', close, { once: true })
  const drained = await lane.adopt(deadlineMs)
  signal?.removeEventListener('abort', close)
  return drained ? 'drained' : ownerReturned ? 'owner-returned' : 'kept'
}
