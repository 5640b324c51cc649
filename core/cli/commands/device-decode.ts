import { decodePoint, resolvePoint, toJsonValue } from '../../modbus/codec/point-codec.js'
import { RouteMQError } from '../../support/errors.js'
import { type DeviceAccess, withDevices } from '../device-access.js'
import { follow } from '../follow.js'
import { addressArgument, registerTypeArgument, showAddress } from '../modbus-address.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

const ORDERS = ['ABCD', 'CDAB', 'BADC', 'DCBA'] as const
const TYPES = [
  { type: 'uint16', words: 1 },
  { type: 'int16', words: 1 },
  { type: 'uint32', words: 2 },
  { type: 'int32', words: 2 },
  { type: 'float32', words: 2 },
  { type: 'uint64', words: 4 },
  { type: 'int64', words: 4 },
  { type: 'float64', words: 4 },
] as const

/** How units refuse registers that they have not, and more at once than they give. */
const TOO_MANY: ReadonlySet<string> = new Set(['MODBUS_ILLEGAL_ADDRESS', 'MODBUS_ILLEGAL_VALUE'])

interface DecodeOptions {
  readonly type: string
  readonly interval?: number
  readonly count?: number
}

/** `routemq device:decode ID ADDRESS`: the same registers as every type in every order, side by side; live with `--interval`. */
export function registerDeviceDecode({ program, action }: Registry): void {
  program
    .command('device:decode')
    .description('read registers from an address on as every type and order, to find out which it is')
    .argument('<device>')
    .argument('<address>', '0-based')
    .option('-t, --type <type>', 'holding or input', 'holding')
    .option('-i, --interval <ms>', 'read again after so long: a live table', integerArgument(100, 3_600_000))
    .option('-C, --count <reads>', 'end after so many; 1 without --interval', integerArgument(1, 1_000_000))
    .action((device: string, text: string, options: DecodeOptions) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const address = addressArgument(text)
          if (address === undefined) throw new RouteMQError('USAGE', `"${text}" is no address`)
          const register_type = registerTypeArgument(options.type)
          if (register_type !== 'holding' && register_type !== 'input') {
            throw new RouteMQError(
              'USAGE',
              `--type ${options.type}: coils and discrete inputs are bits, nothing to decode`,
            )
          }
          const look = async () => {
            const words = await readUpToFour(devices, { device_id: device, register_type, address }, context.signal)
            const readings = readingsOf(words)
            const hex = words.map((word) => word.toString(16).padStart(4, '0')).join(' ')
            const rows = readings.map(({ type, ...byOrder }) => [type, ...ORDERS.map((order) => byOrder[order])])
            return {
              facts: { device_id: device, register_type, address, words, readings },
              screen: `${showAddress(register_type, address)}: ${hex}\n\n${table(['type', ...ORDERS], rows)}`,
            }
          }
          const { interval = 1_000, count = options.interval === undefined ? 1 : Number.POSITIVE_INFINITY } = options
          if (count > 1) {
            return follow(context, { device, interval, count, json }, async (time) => {
              const { facts, screen } = await look()
              return { facts: { time, ...facts }, screen: `${device}  ${time}  ${screen}` }
            })
          }
          const { facts, screen } = await look()
          context.out(json ? JSON.stringify(facts) : screen)
          return 0
        }),
      ),
    )
}

/** Four registers where the device has them, else two, else one. */
async function readUpToFour(
  devices: DeviceAccess,
  from: { readonly device_id: string; readonly register_type: 'holding' | 'input'; readonly address: number },
  signal: AbortSignal,
): Promise<readonly number[]> {
  const { device_id, register_type, address } = from
  for (const count of [4, 2, 1].filter((wanted) => address + wanted <= 65_536)) {
    try {
      const { values } = await devices.request({ op: 'read', ...from, count }, signal)
      return values.map(Number)
    } catch (error) {
      if (!(error instanceof RouteMQError) || !TOO_MANY.has(error.code) || count === 1) throw error
    }
  }
  throw new RouteMQError('ADDRESS_INVALID', `Device ${device_id} has nothing at ${showAddress(register_type, address)}`)
}

function readingsOf(words: readonly number[]) {
  return TYPES.filter((one) => one.words <= words.length).map(({ type, words: count }) => ({
    type,
    ...(Object.fromEntries(
      ORDERS.map((order) => {
        const point = resolvePoint({ name: 'reading', address: 0, type, order })
        return [order, toJsonValue(decodePoint(point, words.slice(0, count)).value)]
      }),
    ) as Record<(typeof ORDERS)[number], unknown>),
  }))
}
