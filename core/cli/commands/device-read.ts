import type { RegisterType } from '../../modbus/field.js'
import { RouteMQError } from '../../support/errors.js'
import { withDevices } from '../device-access.js'
import { addressArgument, registerTypeArgument, showAddress } from '../modbus-address.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

interface ReadOptions {
  readonly type: string
  readonly count: number
  readonly cache?: boolean
}

/** `routemq device:read ID [WHAT…]`: registers by address, or points by name. */
export function registerDeviceRead({ program, action }: Registry): void {
  program
    .command('device:read')
    .description('read registers by address, or points by name; all points where nothing is named')
    .argument('<device>')
    .argument('[what...]', 'an address (0-based), or names of points')
    .option('-t, --type <type>', 'holding, input, coil or discrete', 'holding')
    .option('-n, --count <registers>', 'how many from the address on', integerArgument(1, 2_000), 1)
    .option('--cache', 'take the last known value where there is one')
    .action((device: string, what: string[], options: ReadOptions) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const address = addressOf(what)
          const source = options.cache === true ? 'cache' : 'live'
          if (address !== undefined) {
            const register_type = registerTypeArgument(options.type)
            const { count } = options
            const read = { op: 'read', device_id: device, register_type, address, count, source } as const
            const block = await devices.request(read, context.signal)
            context.out(json ? JSON.stringify(block) : blockTable(register_type, address, block.values))
            return 0
          }
          const answer = await devices.readPoints({ device_id: device, points: what, source }, context.signal)
          if (json) context.out(JSON.stringify(answer))
          else {
            const rows = answer.points.map((one) => [one.point, one.value, one.unit, one.quality, one.reason])
            context.out(table(['point', 'value', 'unit', 'quality', 'reason'], rows))
          }
          return 0
        }),
      ),
    )
}

function addressOf(what: readonly string[]): number | undefined {
  const addresses = what.map(addressArgument)
  if (addresses.every((one) => one === undefined)) return undefined
  if (what.length === 1) return addresses[0]
  throw new RouteMQError('USAGE', 'Name one address (with --count for more), or points by name, not both.')
}

function blockTable(type: RegisterType, address: number, values: readonly (number | boolean)[]): string {
  const rows = values.map((value, at) => [showAddress(type, address + at), value, hex(value)])
  return table(['register', 'value', 'hex'], rows)
}

function hex(value: number | boolean): string {
  return typeof value === 'number' ? `0x${value.toString(16).padStart(4, '0')}` : '-'
}
