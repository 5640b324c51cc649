import type { Sample } from '../../poller/sample.js'
import type { ReadingSource, ReadingWrite } from '../readings/reading.js'
import { secondsToMicros } from '../values.js'

/**
 * What of a sample is kept: its points; the raw block where the target covers none. Numbered from `sequence` + 1 on.
 */
export function rowsOf(sample: Sample, source: ReadingSource, sequence: number): ReadingWrite[] {
  const { device_id, block, points } = sample
  if (points.length === 0) {
    const { register_type, address, count, values, quality, reason, timestamp } = block
    const only = values[0]
    return [
      {
        source,
        sequence: sequence + 1,
        device_id,
        point: `${register_type}/${address}/${count}`,
        unit: null,
        time_us: secondsToMicros(timestamp),
        value: count === 1 ? (only ?? null) : values.length === 0 ? null : values,
        quality,
        reason: reason ?? null,
      },
    ]
  }
  return points.map(({ point, value, unit, quality, reason, timestamp }, at) => ({
    source,
    sequence: sequence + at + 1,
    device_id,
    point,
    unit,
    time_us: secondsToMicros(timestamp),
    value,
    quality,
    reason: reason ?? null,
  }))
}

/** A batch as one record of the spool. Short on purpose: device, unit and source repeat in each row. */
export function encodeBatch(rows: readonly ReadingWrite[]): Buffer {
  return Buffer.from(
    JSON.stringify(
      rows.map((row) => [
        row.source.instance,
        row.source.boot,
        row.sequence,
        row.device_id,
        row.point,
        row.unit,
        row.time_us,
        row.value,
        row.quality,
        row.reason,
      ]),
    ),
  )
}

type Encoded = [
  string,
  string,
  number,
  string,
  string,
  string | null,
  number,
  ReadingWrite['value'],
  ReadingWrite['quality'],
  string | null,
]

export function decodeBatch(data: Buffer): ReadingWrite[] {
  return (JSON.parse(data.toString()) as Encoded[]).map(
    ([instance, boot, sequence, device_id, point, unit, time_us, value, quality, reason]) => ({
      source: { instance, boot },
      sequence,
      device_id,
      point,
      unit,
      time_us,
      value,
      quality,
      reason,
    }),
  )
}
