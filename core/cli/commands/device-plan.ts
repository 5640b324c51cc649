import { loadConfig } from '../../config/load-config.js'
import type { TargetRecord } from '../../modbus/device-record.js'
import type { FieldService } from '../../modbus/field-service.js'
import { silentLogger } from '../../observability/logger.js'
import { RouteMQError } from '../../support/errors.js'
import { plantRecords } from '../plant-records.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

interface PlannedRead {
  readonly interval_ms: number
  readonly register_type: string
  readonly address: number
  readonly count: number
  /** Targets it brings. */
  readonly targets: readonly number[]
  /** Addresses that nobody asked for, read because that is cheaper than two requests. */
  readonly unwanted: number
  readonly wire_ms: number
}

/** `routemq device:plan ID`: the requests that polling a device takes, and what they cost its bus. */
export function registerDevicePlan({ program, action }: Registry): void {
  program
    .command('device:plan')
    .description('explain which requests poll a device, and the predicted load of its bus')
    .argument('<device>')
    .action((id: string) =>
      action(async (context, json) => {
        const { config } = loadConfig({ root: context.root, env: context.env, keepInstance: false })
        const { devices, targets, roundTrips } = await plantRecords(context)
        const [{ FieldService }, { Poller }] = await Promise.all([
          import('../../modbus/field-service.js'),
          import('../../poller/poller.js'),
        ])
        // Neither is started: they only plan, nothing is opened.
        const field = new FieldService({ config: config.modbus, cacheTtlMs: 0, logger: silentLogger })
        field.apply(devices)
        const poller = new Poller({
          field: field.polling,
          publisher: { publish: async () => {}, publishValues: () => {} },
          config: config.poller,
          topicPrefix: config.modbus.topicPrefix,
          logger: silentLogger,
        })
        poller.apply(targets, devices)
        const bus = field.polling.busOf(id)
        if (bus === undefined) throw new RouteMQError('DEVICE_UNKNOWN', `There is no active device ${id}.`)
        const own = poller.targets().filter(({ device_id }) => device_id === id)
        const reads = plannedReads(field, id, own, config.poller.intervalMs)
        const load = poller.status().buses.find((one) => one.bus === bus)
        const facts = {
          device_id: id,
          bus,
          targets: own.length,
          reads,
          bus_load_percent: Math.round((load?.load ?? 0) * 1_000) / 10,
          warning: load?.warning ?? null,
          measured_round_trip_ms: roundTrips.get(bus) ?? null,
        }
        if (json) {
          context.out(JSON.stringify(facts))
          return 0
        }
        if (reads.length === 0) context.out(`Nothing polls ${id}: it has no active target.`)
        else {
          const rows = reads.map((read) => [
            `${read.interval_ms} ms`,
            `${read.register_type} ${read.address}-${read.address + read.count - 1}`,
            read.count,
            read.unwanted,
            read.targets,
            `${read.wire_ms.toFixed(2)} ms`,
          ])
          context.out(table(['every', 'request', 'addresses', 'unwanted', 'targets', 'on the wire'], rows))
        }
        const measured = facts.measured_round_trip_ms
        context.out(
          `\nBus ${bus}: polling all its devices takes ${facts.bus_load_percent} % of its time${measured === null ? ', with 5 ms for a unit to answer' : `; requests take ${measured} ms just now`}.`,
        )
        if (facts.warning !== null) context.out(facts.warning)
        return 0
      }),
    )
}

/** The targets of one interval are read together, as the poller does. */
function plannedReads(field: FieldService, id: string, own: readonly TargetRecord[], defaultMs: number): PlannedRead[] {
  const groups = new Map<number, TargetRecord[]>()
  for (const target of own) {
    const interval = target.interval_ms ?? defaultMs
    groups.set(interval, [...(groups.get(interval) ?? []), target])
  }
  return [...groups].flatMap(([interval_ms, targets]) =>
    field.polling.plan(id, targets, interval_ms).map((read) => {
      const { register_type, address, count, wanted } = read
      const asked = new Set<number>()
      for (const index of wanted) {
        const target = targets[index]!
        for (let at = 0; at < target.count; at += 1) asked.add(target.address + at)
      }
      const inside = [...asked].filter((at) => at >= address && at < address + count).length
      return {
        interval_ms,
        register_type,
        address,
        count,
        targets: wanted.map((index) => targets[index]!.id),
        unwanted: count - inside,
        wire_ms: field.polling.wireTime(id, [read]),
      }
    }),
  )
}
