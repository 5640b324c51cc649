import { deviceView } from '../http/views.js'
import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import type { CliContext } from './context.js'
import { migratedStore, plantOfFile } from './device-access.js'
import { RunningProduct } from './running-product.js'

export interface PlantRecords {
  readonly devices: readonly DeviceRecord[]
  readonly targets: readonly TargetRecord[]
  /** Measured round trips by bus, milliseconds, where the product runs. */
  readonly roundTrips: ReadonlyMap<string, number>
}

interface BusRow {
  readonly id: string
  readonly round_trip_ms: number | null
}

/**
 * Devices and polling targets: of the running product, else of the database, else of the application's file. As they may be
 * shown, wherever they come from: without private keys.
 */
export async function plantRecords(context: CliContext): Promise<PlantRecords> {
  const product = RunningProduct.find(context.root, context.signal)
  if (product !== undefined) {
    const [devices, targets, buses] = await Promise.all([
      product.call<readonly DeviceRecord[]>('GET', '/api/admin/devices'),
      product.call<readonly TargetRecord[]>('GET', '/api/admin/polling'),
      product.call<readonly BusRow[]>('GET', '/api/admin/buses'),
    ])
    const measured = buses.flatMap(({ id, round_trip_ms }) =>
      round_trip_ms === null ? [] : [[id, round_trip_ms] as const],
    )
    return { devices, targets, roundTrips: new Map(measured) }
  }
  const store = await migratedStore(context)
  if (store === undefined) {
    const { devices, targets } = await plantOfFile(context.root)
    return { devices: devices.map(deviceView), targets, roundTrips: new Map() }
  }
  try {
    const [devices, targets] = await Promise.all([store.devices.list(), store.targets.list()])
    return { devices: devices.map(deviceView), targets, roundTrips: new Map() }
  } finally {
    await store.close()
  }
}
