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

/** Targets of one device that are read together, and how. */
export interface PolledTogether {
  readonly deviceId: string
  readonly intervalMs: number
  readonly targets: readonly TargetRecord[]
  /** The reads in use. */
  plan(): readonly PlannedBlock[]
}

/** What predicting takes of the field. */
export type LoadPort = Pick<PollPort, 'plan' | 'busOf' | 'wireTime' | 'answerTime'>

const WARN_SHARE = 0.8

/** The predicted load of a bus by what is read on it. */
export function busLoad(field: LoadPort, bus: string, groups: readonly PolledTogether[]): BusLoad {
  let load = 0
  const warnings: string[] = []
  for (const group of groups) {
    const { deviceId, intervalMs } = group
    if (field.busOf(deviceId) !== bus) continue
    const reads = group.plan()
    load += field.wireTime(deviceId, reads) / intervalMs
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

/** The predicted load of every bus that is polled. */
export function busLoads(field: LoadPort, groups: readonly PolledTogether[]): BusLoad[] {
  const buses = groupBy(groups, ({ deviceId }) => field.busOf(deviceId))
  return [...buses].flatMap(([bus, own]) => (bus === undefined ? [] : [busLoad(field, bus, own)]))
}

/** The groups as they would be with a target, active or not, instead of its older self. */
export function withTarget(
  field: LoadPort,
  groups: readonly PolledTogether[],
  target: TargetRecord,
  intervalMs: number,
): PolledTogether[] {
  const deviceId = target.device_id
  const others = groups.map((group): PolledTogether => {
    const { deviceId, intervalMs } = group
    const targets = group.targets.filter(({ id }) => id !== target.id)
    if (targets.length === group.targets.length) return group
    return { deviceId, intervalMs, targets, plan: () => planOf(field, deviceId, targets, intervalMs) }
  })
  if (!target.is_active) return others
  const own = others.find((group) => group.deviceId === deviceId && group.intervalMs === intervalMs)
  const targets = [...(own?.targets ?? []), target]
  const plan = () => planOf(field, deviceId, targets, intervalMs)
  return [...others.filter((group) => group !== own), { deviceId, intervalMs, targets, plan }]
}

/** @throws RouteMQError BUS_LOAD_REFUSED where the answer to a read takes longer on the line than a poll waits for it. */
export function refuseUnanswerable(field: LoadPort, reads: readonly PlannedBlock[], intervalMs: number): void {
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

/**
 * Which targets the buses cannot carry when all of them are polled: those whose answer comes too late, and of each bus that
 * would be overloaded the first of the fresh ones that no longer fits.
 *
 * @param settled targets that are polled whatever is refused
 * @param fresh targets that are asked for, in their order
 */
export function overloads(
  field: LoadPort,
  settled: readonly TargetRecord[],
  fresh: readonly TargetRecord[],
  intervalOf: (target: TargetRecord) => number,
): Map<TargetRecord, RouteMQError> {
  const refused = new Map<TargetRecord, RouteMQError>()
  const refusedBy = (target: TargetRecord, check: () => void) => {
    try {
      check()
    } catch (error) {
      if (!(error instanceof RouteMQError)) throw error
      refused.set(target, error)
    }
  }
  const busOf = ({ device_id, is_active }: TargetRecord) => (is_active ? field.busOf(device_id) : undefined)
  for (const [bus, asked] of groupBy(fresh, busOf)) {
    // Of a device that is not active nothing is read.
    if (bus === undefined) continue
    for (const target of asked) {
      const intervalMs = intervalOf(target)
      refusedBy(target, () => refuseUnanswerable(field, field.plan(target.device_id, [target], intervalMs), intervalMs))
    }
    const own = settled.filter((target) => busOf(target) === bus)
    const loadWith = (count: number) =>
      busLoad(field, bus, groupsOf(field, [...own, ...asked.slice(0, count)], intervalOf))
    const load = loadWith(asked.length)
    if (load.load <= 1) continue
    let [fits, tooMany] = [0, asked.length]
    while (tooMany - fits > 1) {
      const middle = (fits + tooMany) >> 1
      if (loadWith(middle).load > 1) tooMany = middle
      else fits = middle
    }
    const first = asked[tooMany - 1]!
    refusedBy(first, () => refuseOverload(load, first.device_id, intervalOf(first)))
  }
  return refused
}

function groupsOf(
  field: LoadPort,
  targets: readonly TargetRecord[],
  intervalOf: (target: TargetRecord) => number,
): PolledTogether[] {
  const groups = groupBy(targets, (target) => `${intervalOf(target)}/${target.device_id}`)
  return [...groups.values()].map((together) => {
    const [deviceId, intervalMs] = [together[0]!.device_id, intervalOf(together[0]!)]
    return { deviceId, intervalMs, targets: together, plan: () => planOf(field, deviceId, together, intervalMs) }
  })
}

function groupBy<T, K>(items: readonly T[], keyOf: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group === undefined) groups.set(keyOf(item), [item])
    else group.push(item)
  }
  return groups
}

function shareOfTimeout(field: LoadPort, read: PlannedBlock, intervalMs: number): number {
  const { lineMs, timeoutMs } = field.answerTime(read.device_id, read, intervalMs)
  return lineMs / timeoutMs
}

function timeSentence(field: LoadPort, read: PlannedBlock, intervalMs: number): string {
  const { device_id, register_type, address, count } = read
  const { lineMs, timeoutMs } = field.answerTime(device_id, read, intervalMs)
  return (
    `Reading ${describeAddress(register_type, address, count)} of device ${device_id} takes ${Math.ceil(lineMs)} ms on the ` +
    `line alone, and a poll every ${intervalMs} ms waits ${Math.floor(timeoutMs)} ms for its answer`
  )
}

/** Targets that cannot be planned are not read, so they take no time of the bus. */
function planOf(
  field: LoadPort,
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
