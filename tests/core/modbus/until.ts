/** Waits until `done` holds; a hang guard ends it. */
export async function until(done: () => boolean, ms = 30_000): Promise<void> {
  const end = performance.now() + ms
  while (!done()) {
    if (performance.now() > end) throw new Error('it did not happen in time')
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}
