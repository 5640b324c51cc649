import type { WriteItem, WriteResult } from '../../modbus/field.js'
import type { PointDefinition } from '../../modbus/point.js'
import { RouteMQError } from '../../support/errors.js'
import { userName } from '../actor.js'
import { type DeviceAccess, withDevices } from '../device-access.js'
import { addressArgument, registerTypeArgument, showAddress } from '../modbus-address.js'
import { integerArgument, valueArgument } from '../parse-arguments.js'
import { pointValue } from '../point-value.js'
import type { Registry } from '../program.js'

interface WriteFlags {
  readonly type: string
  readonly mask?: number
  readonly read?: number
  readonly count: number
}

/** `routemq device:write ID WHAT VALUE…`: registers by address, some bits of one, or one point by name. */
export function registerDeviceWrite({ program, action }: Registry): void {
  program
    .command('device:write')
    .description('write registers or coils from an address on, or one point by name')
    .argument('<device>')
    .argument('<what>', 'an address (0-based), or the name of a point')
    .argument('<values...>', 'numbers, true and false, or the value of the point')
    .option('-t, --type <type>', 'holding or coil', 'holding')
    .option('-m, --mask <bits>', 'change only these bits of a register (function 22), as 0x00ff', wordArgument)
    .option('-r, --read <address>', 'read from here in the same request (function 23)', integerArgument(0, 65_535))
    .option('-n, --count <registers>', 'how many to read with it', integerArgument(1, 125), 1)
    .action((device: string, what: string, values: string[], flags: WriteFlags) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const item = writeItem(what, values, flags, await definitionOf(devices, device, what, values))
          const actor = { kind: 'cli', name: userName() } as const
          const write = { op: 'write', device_id: device, items: [item], actor } as const
          const { results } = await devices.request(write, context.signal)
          const result = { ...(results[0] as WriteResult), item }
          context.out(json ? JSON.stringify(facts(device, result)) : `${device} ${sentence(result)}`)
          return 0
        }),
      ),
    )
}

function facts(device: string, { item, values, written }: WriteResult): object {
  return {
    device_id: device,
    status: 'ok',
    ...item,
    ...(values === undefined ? {} : { read_values: values }),
    ...(written === undefined ? {} : { written }),
  }
}

function sentence({ item, values, written }: WriteResult): string {
  const read = values === undefined ? '' : `; read ${values.join(', ')}`
  // What the registers hold, not what was asked of them.
  if ('point' in item && written !== undefined) return `${item.point} = ${written} (asked for ${item.value})`
  return `${shown(item)}${read}`
}

function shown(item: WriteItem): string {
  if ('point' in item) return `${item.point} = ${item.value}`
  if ('function' in item) return `function ${item.function}`
  const where = showAddress(item.register_type ?? 'holding', item.address)
  if ('values' in item) return `${where} = ${item.values.join(', ')}`
  return `${where} = ${hex(item.or & ~item.and)} in the bits ${hex(~item.and & 0xffff)}`
}

/** The point that is named, where what its value means depends on it. */
async function definitionOf(
  devices: DeviceAccess,
  id: string,
  what: string,
  [text = '']: readonly string[],
): Promise<PointDefinition | undefined> {
  if (addressArgument(what) !== undefined || typeof valueArgument(text) === 'string') return undefined
  const device = (await devices.list()).find(({ device_id }) => device_id === id)
  return device?.points.find(({ name }) => name === what)
}

function writeItem(
  what: string,
  texts: readonly string[],
  { type, mask, read, count }: WriteFlags,
  point: PointDefinition | undefined,
): WriteItem {
  const address = addressArgument(what)
  if (address === undefined) {
    if (texts.length > 1) throw new RouteMQError('USAGE', `The point ${what} takes one value, not ${texts.length}.`)
    if (mask !== undefined || read !== undefined) {
      throw new RouteMQError('USAGE', `--mask and --read go with an address, not with the point ${what}.`)
    }
    const text = texts[0]!
    return { point: what, value: point === undefined ? valueArgument(text) : pointValue(point, text) }
  }
  const values = texts.map(valueArgument)
  const register_type = registerTypeArgument(type)
  if (register_type !== 'holding' && register_type !== 'coil') {
    throw new RouteMQError('USAGE', `--type ${type}: only holding registers and coils can be written`)
  }
  if (mask !== undefined) {
    if (values.length > 1 || read !== undefined || register_type !== 'holding') {
      throw new RouteMQError('USAGE', '--mask goes with one value of one holding register')
    }
    return { register_type, address, and: ~mask & 0xffff, or: wordArgument(texts[0]!) }
  }
  const wrong = values.find((value) => typeof value !== 'number' && typeof value !== 'boolean')
  if (wrong !== undefined) throw new RouteMQError('USAGE', `"${wrong}" is no number, true or false`)
  const item = { register_type, address, values: values as (number | boolean)[] }
  return read === undefined ? item : { ...item, read: { address: read, count } }
}

function hex(word: number): string {
  return `0x${word.toString(16).padStart(4, '0')}`
}

/** A word in decimal or hexadecimal digits. */
function wordArgument(text: string): number {
  const word = /^(0x[0-9a-f]+|\d+)$/i.test(text) ? Number(text) : Number.NaN
  if (word >= 0 && word <= 0xffff) return word
  throw new RouteMQError('USAGE', `"${text}" is no word: want 0 to 65535, or 0x0000 to 0xffff`)
}
