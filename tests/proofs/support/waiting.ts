import { readFileSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'

/** Looks until `condition` holds; the limit only guards against a hang. */
export async function until(
  what: string,
  condition: () => boolean | Promise<boolean>,
  limitMs = 60_000,
  describe: () => string | Promise<string> = () => '',
): Promise<void> {
  const endsAt = performance.now() + limitMs
  while (!(await condition())) {
    if (performance.now() > endsAt) throw new Error(`not within ${limitMs} ms: ${what} ${await describe()}`)
    await pause(20)
  }
}

/** Resolves once `value()` has not changed for `quietMs`. */
export async function settled(value: () => number, quietMs: number, limitMs = 60_000): Promise<void> {
  let last = value()
  let since = performance.now()
  const endsAt = since + limitMs
  while (performance.now() - since < quietMs) {
    if (performance.now() > endsAt) throw new Error(`still changing after ${limitMs} ms: ${last}`)
    await pause(50)
    const now = value()
    if (now === last) continue
    last = now
    since = performance.now()
  }
}

/** False also for a process that has ended and whose new parent has not asked for its exit code yet. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
  } catch {
    return false
  }
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'))
  } catch {
    return process.platform !== 'linux'
  }
}
