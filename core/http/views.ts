import type { CacheEntry } from '../modbus/cache.js'
import type { DeviceRecord } from '../modbus/device-record.js'
import { inputError } from '../modbus/device-schema.js'
import type { BlockReading, PointReading } from '../modbus/field.js'

/** What stands in the place of a secret in a record that is shown. */
export const REDACTED = '[redacted]'

/** Times that were written out before: a block is read from the cache many times between two polls. */
const written = new Map<number, string>()
const MAX_WRITTEN = 1_000

/** ISO 8601 UTC from Unix seconds with a fraction. */
export function isoFromSeconds(seconds: number): string {
  const known = written.get(seconds)
  if (known !== undefined) return known
  const text = new Date(seconds * 1_000).toISOString()
  if (written.size >= MAX_WRITTEN) written.clear()
  written.set(seconds, text)
  return text
}

/** `host:port`, or the path of a serial line. */
export function gatewayOf({ host, port, path }: DeviceRecord): string {
  return host === null ? (path ?? '') : `${host}:${port}`
}

export function deviceSummary(device: DeviceRecord) {
  const { device_id, host, port, slave_id, timeout } = device
  return { device_id, host, port, slave_id, timeout, gateway: gatewayOf(device) }
}

/** A device record as it may be shown: the private key of its TLS settings stays inside. */
export function deviceView(device: DeviceRecord): DeviceRecord {
  const { tls } = device.options as { tls?: { key?: unknown } }
  if (tls?.key === undefined) return device
  return { ...device, options: { ...device.options, tls: { ...tls, key: REDACTED } } }
}

/**
 * Puts the private key back where a caller sent the shown record again.
 *
 * @throws RouteMQError DEVICE_INVALID where there is no key that the mark could stand for
 */
export function withStoredSecrets<T extends { options?: Readonly<Record<string, unknown>> | undefined }>(
  changes: T,
  stored: DeviceRecord | undefined,
): T {
  const tls = changes.options?.tls as { key?: unknown } | undefined
  if (tls?.key !== REDACTED) return changes
  const key = (stored?.options.tls as { key?: unknown } | undefined)?.key
  if (key === undefined) {
    const message = `is ${REDACTED}, which stands for a key that is not shown; want the key itself`
    throw inputError('DEVICE_INVALID', 'The device', [{ field: 'options.tls.key', message }])
  }
  return { ...changes, options: { ...changes.options, tls: { ...tls, key } } }
}

/** Written out field by field: spreading the rest of an object costs more than all else here. */
export function registersView(reading: BlockReading) {
  const { device_id, register_type, address, count, values, source, quality } = reading
  if (source === 'live') return { device_id, register_type, address, count, values, source, quality }
  const cached_at = isoFromSeconds(reading.timestamp)
  return { device_id, register_type, address, count, values, source, cached_at, quality }
}

export function pointReadingView(reading: PointReading) {
  return { ...reading, timestamp: isoFromSeconds(reading.timestamp) }
}

export function cacheStats(entries: readonly CacheEntry[]) {
  // ISO 8601 in UTC sorts as text.
  const times = entries.map((entry) => entry.cached_at).sort()
  return {
    total_entries: entries.length,
    devices: [...new Set(entries.map((entry) => entry.device_id))].sort(),
    oldest_entry: times.at(0) ?? null,
    newest_entry: times.at(-1) ?? null,
    cache_keys: entries.map((entry) => entry.key),
  }
}
