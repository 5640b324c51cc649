import { withDevices } from '../device-access.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

/** `routemq device:identify ID`: what the unit says of itself. */
export function registerDeviceIdentify({ program, action }: Registry): void {
  program
    .command('device:identify')
    .description('what a device says of itself (functions 17 and 43/14)')
    .argument('<device>')
    .action((device: string) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const identity = await devices.request({ op: 'identify', device_id: device }, context.signal)
          if (json) {
            context.out(JSON.stringify(identity))
            return 0
          }
          const rows: [string, unknown][] = Object.entries(identity.objects ?? {})
          if (identity.server_id !== null) {
            rows.push(['server_id', identity.server_id.text], ['server_id bytes', identity.server_id.hex])
          }
          for (const { message } of identity.errors) rows.push(['not known', message])
          context.out(table(['what', 'value'], rows))
          return 0
        }),
      ),
    )
}
