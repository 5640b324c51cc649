import type { WriteItem } from '../../modbus/field.js'
import { RouteMQError } from '../../support/errors.js'
import { userName } from '../actor.js'
import { withDevices } from '../device-access.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'

/** `routemq device:call ID FUNCTION [HEX]`: a function that only the device knows; it counts as a write. */
export function registerDeviceCall({ program, action }: Registry): void {
  program
    .command('device:call')
    .description('send a function of the device and show its answer; under the rules of raw writes, never repeated')
    .argument('<device>')
    .argument('<function>', '1 to 127, but none that reads or writes registers', integerArgument(1, 127))
    .argument('[bytes...]', 'what follows the function code, as hexadecimal digits')
    .action((device: string, code: number, bytes: string[]) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const item: WriteItem = { function: code, data: hexArgument(bytes) }
          const actor = { kind: 'cli', name: userName() } as const
          const write = { op: 'write', device_id: device, items: [item], actor } as const
          const { results } = await devices.request(write, context.signal)
          const data = results[0]?.data ?? ''
          const shown = data === '' ? 'confirmed, without data' : (data.match(/../g) ?? []).join(' ')
          context.out(json ? JSON.stringify({ device_id: device, function: code, data }) : shown)
          return 0
        }),
      ),
    )
}

function hexArgument(texts: readonly string[]): string {
  const digits = texts.join('').replace(/0x/gi, '')
  if (/^([0-9a-f]{2})*$/i.test(digits)) return digits.toLowerCase()
  throw new RouteMQError('USAGE', `"${texts.join(' ')}" are no bytes: want two hexadecimal digits for each`)
}
