import { isIPv4, isIPv6 } from 'node:net'

/** True for an address that only this machine reaches: 127.0.0.0/8, ::1, either written IPv4-mapped, `localhost`. */
export function isLoopback(host: string): boolean {
  const name = host.toLowerCase().replace(/\.$/, '')
  if (name === 'localhost') return true
  const bare = name.startsWith('[') && name.endsWith(']') ? name.slice(1, -1) : name
  if (isIPv4(bare)) return bare.startsWith('127.')
  if (!isIPv6(bare)) return false
  // The URL parser is the one thing in node that writes every spelling of an IPv6 address in its shortest form.
  const shortest = new URL(`http://[${bare.replace(/%.*$/, '')}]`).hostname.slice(1, -1)
  if (shortest === '::1') return true
  const mapped = /^::ffff:([0-9a-f]{1,4}):[0-9a-f]{1,4}$/.exec(shortest)
  return mapped !== null && Number.parseInt(mapped[1]!, 16) >> 8 === 127
}

/**
 * True where a `Host` header names this machine, with any port. A page on the internet whose name was pointed at
 * 127.0.0.1 (DNS rebinding) sends its own name here, and is refused.
 */
export function isLoopbackHostHeader(header: string | undefined): boolean {
  if (header === undefined) return false
  const found = /^(\[[0-9a-fA-F:.]+\]|[^:[\]@/\\\s]+)(?::(\d{1,5}))?$/.exec(header)
  return found !== null && isLoopback(found[1]!)
}

/** True where an `Origin` header is a page of this machine. `null`, as sandboxed pages and files send it, is not. */
export function isLoopbackOrigin(origin: string): boolean {
  const found = /^https?:\/\/(.+)$/.exec(origin)
  return found !== null && isLoopbackHostHeader(found[1])
}
