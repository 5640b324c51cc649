import type { TestContext } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { FIELD_SETTINGS } from '../modbus/field-settings.js'
import { type Plant, plant } from './fake-services.js'

export interface LivePlant {
  readonly services: Plant
  readonly field: FieldService
  readonly device: VirtualDevice
}

/** Real devices on a real socket behind a real field service: `meter-1` is unit 1, `meter-2` unit 2, `silent` unit 9. */
export async function livePlant(context: TestContext): Promise<LivePlant> {
  const device = await startVirtualDevice({
    units: {
      1: {
        holding: Array.from({ length: 60 }, (_, i) => i * 10),
        ranges: { holding: [[0, 199]] },
        readOnly: { holding: [[50, 59]] },
      },
      2: { holding: [7] },
      9: {},
    },
  })
  device.faults.set(9, { kind: 'silence' })
  const field = new FieldService(FIELD_SETTINGS)
  await field.start()
  context.after(async () => {
    await field.stop(500)
    await device.close()
  })
  const base = { host: '127.0.0.1', port: device.port, framer: 'SOCKET', max_retries: 0, timeout_ms: 1_500 } as const
  const records = [
    normalizeDevice({
      ...base,
      device_id: 'meter-1',
      slave_id: 1,
      points: [
        { name: 'level', address: 10, unit: '%', min: 0, max: 500 },
        { name: 'reset', address: 90, access: 'w' },
      ],
    }),
    normalizeDevice({ ...base, device_id: 'meter-2', slave_id: 2, write_enabled: false }),
    normalizeDevice({ ...base, device_id: 'silent', slave_id: 9, timeout_ms: 150 }),
  ]
  const counters = plant().metrics.snapshot()
  const services = plant({
    records,
    apply: (devices) => field.apply(devices),
    answer: (request, signal) => field.request(request, signal),
    cache: { entries: (deviceId) => field.cache.entries(deviceId), clear: () => field.cache.clear() },
    metrics: {
      snapshot: () => ({ ...counters, ...field.metrics() }),
      reset: () => field.resetMetrics(),
      prometheus: async () => '',
    },
    buses: () => field.gateways().map((bus) => ({ ...bus })),
  })
  return {
    services: {
      ...services,
      devices: { ...services.devices, gateways: () => field.gateways().map((bus) => ({ ...bus })) },
    },
    field,
    device,
  }
}
