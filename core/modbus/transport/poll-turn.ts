/**
 * Runs `run` once the event loop has asked the kernel for input from beginning to end after this call. One immediate is
 * not enough: set while input is handled it runs before the loop asks again. Returns the way to stop it.
 */
export function afterPollTurn(run: () => void): () => void {
  let pending = setImmediate(() => {
    pending = setImmediate(run)
  })
  return () => clearImmediate(pending)
}
