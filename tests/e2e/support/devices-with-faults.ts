/** `app/devices.ts` of a test project: the default devices and three that fail, each in its own way. */
export function devicesWithFaults(options: { silentPort: number; closedPort: number }): string {
  return `
import { defineDevices } from 'routemq'
import plant from './default-devices.js'

const quick = { host: '127.0.0.1', framer: 'SOCKET' as const, slave_id: 1, timeout: 1, timeout_ms: 1_000, max_retries: 0 }

export default defineDevices({
  devices: [
    ...plant.devices,
    { device_id: 'silent', port: ${options.silentPort}, ...quick },
    { device_id: 'unplugged', port: ${options.closedPort}, ...quick },
    { device_id: 'switched-off', ...quick, port: 502, is_active: false },
  ],
  ...(plant.targets === undefined ? {} : { targets: plant.targets }),
})
`
}
