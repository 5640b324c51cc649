import { after } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { FieldEvent } from '../../../core/modbus/field-event.js'
import { FieldService, type FieldServiceOptions } from '../../../core/modbus/field-service.js'
import {
  startVirtualDevice,
  type VirtualDevice,
  type VirtualDeviceOptions,
} from '../../../core/modbus/server/virtual-device.js'
import type { WriteAuditRecord } from '../../../core/modbus/write-audit.js'
import { FIELD_SETTINGS } from './field-settings.js'

export type DeviceExtra = Record<string, unknown>

/** A test that fails before it closes what it opened must not keep the process alive. */
const open = new Set<() => Promise<void>>()
/** Closes something at the end of the file, whatever became of its test. */
export function atEnd(close: () => Promise<void>): void {
  open.add(close)
}
after(async () => {
  const closed = await Promise.allSettled([...open].map((close) => close()))
  for (const one of closed) if (one.status === 'rejected') throw one.reason
})

/** A virtual device that is closed at the end of the file, if not before. */
export async function startDevice(options: VirtualDeviceOptions): Promise<VirtualDevice> {
  const device = await startVirtualDevice(options)
  atEnd(() => device.close())
  return device
}

/** A virtual device on a real socket and a field service that knows its units as `unit1`, `unit2`, … */
export async function openField(
  device: VirtualDeviceOptions,
  extras: Readonly<Record<string, DeviceExtra>> = { unit1: {} },
  options: Partial<FieldServiceOptions> = {},
) {
  const plant = await startDevice(device)
  const audit: WriteAuditRecord[] = []
  const events: FieldEvent[] = []
  const field = new FieldService({
    ...FIELD_SETTINGS,
    audit: (record) => void audit.push(record),
    onEvent: (event) => void events.push(event),
    ...options,
  })
  atEnd(() => field.stop(100))
  const record = (device_id: string, extra: DeviceExtra = {}) =>
    normalizeDevice({
      device_id,
      host: plant.host,
      port: plant.port,
      framer: 'SOCKET',
      slave_id: Number(/\d+$/.exec(device_id)?.[0] ?? 1),
      timeout_ms: 200,
      max_retries: 0,
      ...extra,
    })
  const records = Object.entries(extras).map(([id, extra]) => record(id, extra))
  field.apply(records)
  await field.start()
  return {
    plant,
    field,
    audit,
    events,
    record,
    records,
    async close() {
      await field.stop(500)
      await plant.close()
    },
  }
}

/** The code and details of the error a promise rejects with. */
export async function failure(promise: Promise<unknown>) {
  try {
    await promise
  } catch (error) {
    return error as Error & { code: string; details: Record<string, unknown> }
  }
  throw new Error('expected a rejection')
}
