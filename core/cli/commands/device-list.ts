import { deviceView } from '../../http/views.js'
import type { DeviceRecord } from '../../modbus/device-record.js'
import { withDevices } from '../device-access.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

/** `routemq device:list`: the devices of this installation. */
export function registerDeviceList({ program, action }: Registry): void {
  program
    .command('device:list')
    .description('list the devices; while nothing runs, those of the application file')
    .option('--active', 'only active ones')
    .action(({ active }: { active?: boolean }) =>
      action((context, json) =>
        withDevices(context, async (devices) => {
          const all = (await devices.list()).filter((device) => active !== true || device.is_active)
          const states = await devices.states()
          const stateOf = ({ device_id, is_active }: DeviceRecord) =>
            is_active ? (states[device_id]?.state ?? 'unknown') : null
          // The same records as the sidecar's, which shows no private keys.
          if (json)
            context.out(
              JSON.stringify(
                all.map((device) => ({ ...deviceView(device), state: stateOf(device) })),
                null,
                2,
              ),
            )
          else if (all.length === 0) context.out('There are no devices: add them to app/devices.ts.')
          else {
            const rows = all.map((device) => [
              device.device_id,
              device.path ?? `${device.host}:${device.port}`,
              device.framer,
              device.unit_id ?? device.slave_id,
              device.is_active ? 'yes' : 'no',
              stateOf(device),
              device.write_enabled ? 'yes' : 'no',
              device.points.length,
            ])
            context.out(table(['device', 'bus', 'framer', 'unit', 'active', 'state', 'writable', 'points'], rows))
          }
          return 0
        }),
      ),
    )
}
