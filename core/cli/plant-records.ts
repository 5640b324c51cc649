import { deviceView } from '../http/views.js'
import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import type { CliContext } from './context.js'
import { migratedStore, plantOfFile } from './device-access.js'
import { RunningProduct } from './running-product.js'

export interface PlantRecords {
  readonly devices: readonly DeviceRecord[]
  readonly targets: readonly TargetRecord[]
}

/**
 * Devices and polling targets: of the running product, else of the database, else of the application's file. As they may be
 * shown, wherever they come from: without private keys.
 */
export async function plantRecords(context: CliContext): Promise<PlantRecords> {
  const product = RunningProduct.find(context.root, context.signal)
  if (product !== undefined) {
    const [devices, targets] = await Promise.all([
      product.call<readonly DeviceRecord[]>('GET', '/api/admin/devices'),
      product.call<readonly TargetRecord[]>('GET', '/api/admin/polling'),
    ])
    return { devices, targets }
  }
  const store = await migratedStore(context)
  if (store === undefined) {
    const { devices, targets } = await plantOfFile(context.root)
    return { devices: devices.map(deviceView), targets }
  }
  try {
    const [devices, targets] = await Promise.all([store.devices.list(), store.targets.list()])
    return { devices: devices.map(deviceView), targets }
  } finally {
    await store.close()
  }
}
