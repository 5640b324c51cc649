import { withDevices } from '../device-access.js'
import { follow } from '../follow.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

interface WatchOptions {
  readonly interval: number
  readonly count: number
  readonly cache?: boolean
}

/** `routemq device:watch ID [POINT…]`: a table that follows the values; a line of JSON each time off a terminal. */
export function registerDeviceWatch({ program, action }: Registry): void {
  program
    .command('device:watch')
    .description('follow points of a device: a live table, or lines where no terminal reads')
    .argument('<device>')
    .argument('[points...]', 'all readable ones where none is named')
    .option('-i, --interval <ms>', 'time between two reads', integerArgument(100, 3_600_000), 1_000)
    .option('-C, --count <reads>', 'end after so many', integerArgument(1, 1_000_000), Number.POSITIVE_INFINITY)
    .option('--cache', 'take what was polled last where it is fresh')
    .action((device: string, names: string[], { interval, count, cache }: WatchOptions) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const source = cache === true ? 'cache' : 'live'
          return follow(context, { device, interval, count, json }, async (time) => {
            const answer = await devices.readPoints({ device_id: device, points: names, source }, context.signal)
            const rows = answer.points.map((one) => [one.point, one.value, one.unit, one.quality, one.reason])
            const columns = ['point', 'value', 'unit', 'quality', 'reason']
            return { facts: { time, ...answer }, screen: `${device}  ${time}\n\n${table(columns, rows)}` }
          })
        }),
      ),
    )
}
