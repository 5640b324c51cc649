import type { Sample } from '../../../core/poller/sample.js'

/** One sample of a device with `points` points, each holding `slot * 1000 + its number`. */
export function sample(deviceId: string, slot: number, points = 5, timestamp = 1_700_000_000 + slot): Sample {
  const block = {
    device_id: deviceId,
    register_type: 'holding',
    address: 0,
    count: points,
    values: [],
    source: 'live',
    timestamp,
    quality: 'good',
  } as const
  return {
    target_id: 1,
    device_id: deviceId,
    block,
    slot,
    points: Array.from({ length: points }, (_, index) => ({
      point: `p${index}`,
      value: slot * 1_000 + index,
      unit: 'V',
      quality: 'good',
      timestamp,
    })),
  }
}
