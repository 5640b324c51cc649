import type { TargetRecord } from '../modbus/device-record.js'
import { describeAddress } from '../modbus/field-failure.js'
import type { PollPort } from '../modbus/field-polling.js'
import type { PlannedBlock } from '../modbus/planner/plan-device.js'
import { RouteMQError } from '../support/errors.js'

/** Predicted use of a bus by polling: 1 is all of its time. */
export interface BusLoad {
  readonly bus: string
  readonly load: number
  /** A sentence where the load is over 80 %, or where a read barely fits or does not fit into its time-out. */
  readonly warning: string | null
}

type IntervalOf = (target: TargetRecord) => number

const WARN_SHARE = 0.8

/** The predicted load of a bus by those of the targets that are read on it. */
export function busLoad(
  field: PollPort,
  bus: string,
  targets: readonly TargetRecord[],
  intervalOf: IntervalOf,
): BusLoad {
  const groups = new Map<string, TargetRecord[]>()
  for (const target of targets) {
    if (field.busOf(target.device_id) !== bus) continue
    const key = `${intervalOf(target)}/${target.device_id}`
    groups.set(key, [...(groups.get(key) ?? []), target])
  }
  let load = 0
  const warnings: string[] = []
  for (const group of groups.values()) {
    const [{ device_id }] = group as [TargetRecord, ...TargetRecord[]]
    const intervalMs = intervalOf(group[0]!)
    const reads = planOf(field, device_id, group, intervalMs)
    load += field.wireTime(device_id, reads) / intervalMs
    const tight = reads.find((read) => shareOfTimeout(field, read, intervalMs) > WARN_SHARE)
    // One is enough to look at the line; a plant may have hundreds of them.
    if (tight !== undefined && warnings.length === 0) warnings.push(timeSentence(field, tight, intervalMs))
  }
  if (load > WARN_SHARE) warnings.unshift(`Polling takes ${percent(load)} of the time of bus ${bus}`)
  return {
    bus,
    load: Math.round(load * 10_000) / 10_000,
    warning: warnings.length === 0 ? null : warnings.join('. '),
  }
}

/** @throws RouteMQError BUS_LOAD_REFUSED where the answer to a read takes longer on the line than a poll waits for it. */
export function refuseUnanswerable(field: PollPort, reads: readonly PlannedBlock[], intervalMs: number): void {
  const read = reads.find((one) => shareOfTimeout(field, one, intervalMs) > 1)
  if (read === undefined) return
  const { device_id } = read
  const { lineMs, timeoutMs } = field.answerTime(device_id, read, intervalMs)
  throw new RouteMQError('BUS_LOAD_REFUSED', timeSentence(field, read, intervalMs), {
    details: {
      device_id,
      bus: field.busOf(device_id),
      line_ms: Math.ceil(lineMs),
      poll_timeout_ms: Math.floor(timeoutMs),
      interval_ms: intervalMs,
    },
  })
}

/** @throws RouteMQError BUS_LOAD_REFUSED over 100 %. */
export function refuseOverload({ bus, load }: BusLoad, deviceId: string, intervalMs: number): void {
  if (load <= 1) return
  throw new RouteMQError(
    'BUS_LOAD_REFUSED',
    `Polling device ${deviceId} every ${intervalMs} ms would take ${percent(load)} of the time of bus ${bus}`,
    { details: { device_id: deviceId, bus, load_percent: Math.round(load * 100), interval_ms: intervalMs } },
  )
}

function shareOfTimeout(field: PollPort, read: PlannedBlock, intervalMs: number): number {
  const { lineMs, timeoutMs } = field.answerTime(read.device_id, read, intervalMs)
  return lineMs / timeoutMs
}

function timeSentence(field: PollPort, read: PlannedBlock, intervalMs: number): string {
  const { device_id, register_type, address, count } = read
  const { lineMs, timeoutMs } = field.answerTime(device_id, read, intervalMs)
  return (
    `Reading ${describeAddress(register_type, address, count)} of device ${device_id} takes ${Math.ceil(lineMs)} ms on the ` +
    `line alone, and a poll every ${intervalMs} ms waits ${Math.floor(timeoutMs)} ms for its answer`
  )
}

/** Targets that cannot be planned are not read, so they take no time of the bus. */
function planOf(
  field: PollPort,
  deviceId: string,
  targets: readonly TargetRecord[],
  intervalMs: number,
): PlannedBlock[] {
  try {
    return field.plan(deviceId, targets, intervalMs)
  } catch (error) {
    if (!(error instanceof RouteMQError)) throw error
    return targets.length === 1 ? [] : targets.flatMap((target) => planOf(field, deviceId, [target], intervalMs))
  }
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
