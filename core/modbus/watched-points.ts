import type { DeviceRecord, TargetRecord } from './device-record.js'
import { type FieldMistake, inputError } from './device-schema.js'
import { DevicePoints } from './points.js'
import type { TargetOptions } from './target-schema.js'

/** Points that a trigger or an event names and that its target never reads: it would never fire. */
export function unreadWatches(
  target: TargetRecord,
  device: Pick<DeviceRecord, 'device_id' | 'points'>,
): FieldMistake[] {
  const { trigger, events = [] } = target.options as TargetOptions
  const watches = [
    ...(trigger === undefined ? [] : [{ field: 'options.trigger', watch: trigger }]),
    ...events.map((watch, index) => ({ field: `options.events.${index}`, watch })),
  ]
  const named = watches.flatMap(({ field, watch }) => ('point' in watch ? [{ field, point: watch.point }] : []))
  if (named.length === 0) return []
  const points = new DevicePoints(device)
  const inside = new Set(points.inside(target).map(({ name }) => name))
  return named.flatMap(({ field, point }) => {
    if (inside.has(point)) return []
    const known = points.find(point)
    if (known === undefined) return [{ field, message: `device ${device.device_id} has no point "${point}"` }]
    const message =
      known.access === 'w'
        ? `point "${point}" cannot be read`
        : `point "${point}" must lie inside the block of the target`
    return [{ field, message }]
  })
}

/** @throws RouteMQError TARGET_INVALID, `details.fields` naming every mistake. */
export function checkWatches(target: TargetRecord, device: Pick<DeviceRecord, 'device_id' | 'points'>): void {
  const mistakes = unreadWatches(target, device)
  if (mistakes.length > 0) throw inputError('TARGET_INVALID', 'The polling target', mistakes)
}
