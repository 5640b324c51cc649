import { isIPv6 } from 'node:net'

export interface Rate {
  readonly max: number
  readonly windowMs: number
}

interface Window {
  /** Monotonic milliseconds. */
  startedAt: number
  taken: number
}

/** Clients remembered; beyond that the one whose window began first is forgotten. */
const MAX_CLIENTS = 5_000

/**
 * Requests of each client in windows of fixed length. Our own because it stands before every request: a counter that
 * answers with a promise costs more than the rest of the gate (benchmarks/cases/http.ts).
 */
export class RateTable {
  /** In the order their windows began. */
  readonly #windows = new Map<string, Window>()

  /** Counts one request of a client. Undefined where it may pass, else the milliseconds until its next window. */
  take(client: string, { max, windowMs }: Rate, now: number): number | undefined {
    const window = this.#windows.get(client)
    if (window !== undefined && now - window.startedAt < windowMs) {
      window.taken += 1
      return window.taken <= max ? undefined : Math.ceil(window.startedAt + windowMs - now)
    }
    this.#windows.delete(client)
    this.#windows.set(client, { startedAt: now, taken: 1 })
    if (this.#windows.size > MAX_CLIENTS) {
      const [first] = this.#windows.keys()
      this.#windows.delete(first!)
    }
    return undefined
  }

  /** As `take`, without counting: how long a client that has had its share waits. */
  spent(client: string, { max, windowMs }: Rate, now: number): number | undefined {
    const window = this.#windows.get(client)
    if (window === undefined || now - window.startedAt >= windowMs || window.taken < max) return undefined
    return Math.ceil(window.startedAt + windowMs - now)
  }
}

/** Who an address is for a limit: of IPv6 the network of 64 bits, which is what one subscriber has. */
export function networkOf(address: string): string {
  if (!isIPv6(address)) return address
  const shortest = new URL(`http://[${address.replace(/%.*$/, '')}]`).hostname.slice(1, -1)
  const [head = '', tail] = shortest.split('::')
  const groups = head === '' ? [] : head.split(':')
  if (tail !== undefined) {
    const end = tail === '' ? [] : tail.split(':')
    groups.push(...Array<string>(8 - groups.length - end.length).fill('0'), ...end)
  }
  // An IPv4 address in IPv6 clothes has all of itself in the last two groups.
  const isMapped = groups.slice(0, 6).join() === '0,0,0,0,0,ffff'
  return isMapped ? shortest : `${groups.slice(0, 4).join(':')}::/64`
}
