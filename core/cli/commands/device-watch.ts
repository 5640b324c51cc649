import { sleep } from '../../support/clock.js'
import { RouteMQError, toErrorShape } from '../../support/errors.js'
import { readablePoints, withDevices } from '../device-access.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

interface WatchOptions {
  readonly interval: number
  readonly count: number
  readonly cache?: boolean
}

/** Cursor home, and clear what is below: the table is drawn over itself. */
const HOME = '\x1b[H\x1b[J'

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
          const points = names.length > 0 ? names : await readablePoints(devices, device)
          const source = cache === true ? 'cache' : 'live'
          const show = context.terminal && !json
          for (let read = 0; read < count && !context.signal.aborted; read += 1) {
            if (read > 0) await sleep(interval, context.signal).catch(() => {})
            if (context.signal.aborted) break
            try {
              const answer = await devices.request(
                { op: 'read_points', device_id: device, points, source },
                context.signal,
              )
              const time = new Date().toISOString()
              if (!show) context.out(JSON.stringify({ time, ...answer }))
              else {
                const rows = answer.points.map((one) => [one.point, one.value, one.unit, one.quality, one.reason])
                context.out(
                  `${HOME}${device}  ${time}\n\n${table(['point', 'value', 'unit', 'quality', 'reason'], rows)}`,
                )
              }
            } catch (error) {
              // A device that is silent for a while is what one watches for; a mistake of the caller ends it.
              if (!(error instanceof RouteMQError) || !error.facts.retry) throw error
              if (context.signal.aborted) break
              const { code, message } = toErrorShape(error)
              context.out(
                show
                  ? `${HOME}${device}  ${code}: ${message}`
                  : JSON.stringify({ device_id: device, error: { code, message } }),
              )
            }
          }
          return 0
        }),
      ),
    )
}
