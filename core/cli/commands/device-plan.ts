import { loadConfig } from '../../config/load-config.js'
import type { DevicePlanView } from '../../http/services/plant.js'
import { silentLogger } from '../../observability/logger.js'
import type { CliContext } from '../context.js'
import { plantRecords } from '../plant-records.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'
import { table } from '../table.js'

/** `routemq device:plan ID`: the requests that polling a device takes, and what they cost its bus. */
export function registerDevicePlan({ program, action }: Registry): void {
  program
    .command('device:plan')
    .description('explain which requests poll a device, and the predicted load of its bus')
    .argument('<device>')
    .action((id: string) =>
      action(async (context, json) => {
        const product = RunningProduct.find(context.root, context.signal)
        // What runs has measured its buses and learned what its devices refuse.
        const plan =
          product === undefined
            ? await planOfRecords(context, id)
            : await product.call<DevicePlanView>('GET', `/api/admin/polling/device/${encodeURIComponent(id)}/plan`)
        if (json) context.out(JSON.stringify(plan))
        else show(context, plan)
        return 0
      }),
    )
}

/** As a poller would begin, before anything is measured or learned. */
async function planOfRecords(context: CliContext, id: string): Promise<DevicePlanView> {
  const { config } = loadConfig({ root: context.root, env: context.env, keepInstance: false })
  const { devices, targets } = await plantRecords(context)
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
  return { ...poller.plan(id), measured_round_trip_ms: null }
}

function show(context: CliContext, plan: DevicePlanView): void {
  const { device_id, bus, reads, bus_load_percent, warning, measured_round_trip_ms: measured } = plan
  if (reads.length === 0) context.out(`Nothing polls ${device_id}: it has no active target.`)
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
  const by = measured === null ? ', with 5 ms for a unit to answer' : `; requests take ${measured} ms just now`
  context.out(`\nBus ${bus}: polling all its devices takes ${bus_load_percent} % of its time${by}.`)
  if (warning !== null) context.out(warning)
}
