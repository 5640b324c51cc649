import { decodePoint, resolvePoint, toJsonValue } from '../../modbus/codec/point-codec.js'
import { RouteMQError } from '../../support/errors.js'
import { type DeviceAccess, withDevices } from '../device-access.js'
import { addressArgument, registerTypeArgument, showAddress } from '../modbus-address.js'
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

/** `routemq device:decode ID ADDRESS`: the same registers as every type in every order, side by side. */
export function registerDeviceDecode({ program, action }: Registry): void {
  program
    .command('device:decode')
    .description('read registers from an address on as every type and order, to find out which it is')
    .argument('<device>')
    .argument('<address>', '0-based')
    .option('-t, --type <type>', 'holding or input', 'holding')
    .action((device: string, text: string, options: { type: string }) =>
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
          const words = await readUpToFour(devices, device, register_type, address)
          const readings = readingsOf(words)
          if (json) context.out(JSON.stringify({ device_id: device, register_type, address, words, readings }))
          else {
            const hex = words.map((word) => word.toString(16).padStart(4, '0')).join(' ')
            const rows = readings.map(({ type, ...byOrder }) => [type, ...ORDERS.map((order) => byOrder[order])])
            context.out(`${showAddress(register_type, address)}: ${hex}\n\n${table(['type', ...ORDERS], rows)}`)
          }
          return 0
        }),
      ),
    )
}

/** Four registers where the device has them, else two, else one. */
async function readUpToFour(
  devices: DeviceAccess,
  device_id: string,
  register_type: 'holding' | 'input',
  address: number,
): Promise<readonly number[]> {
  for (const count of [4, 2, 1].filter((wanted) => address + wanted <= 65_536)) {
    try {
      const { values } = await devices.request({ op: 'read', device_id, register_type, address, count })
      return values.map(Number)
    } catch (error) {
      const isBeyond = error instanceof RouteMQError && error.code === 'MODBUS_ILLEGAL_ADDRESS'
      if (!isBeyond || count === 1) throw error
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
