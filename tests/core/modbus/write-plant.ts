import type { WriteItem, WriteOutcome, WriteResult } from '../../../core/modbus/field.js'
import type { FieldServiceOptions } from '../../../core/modbus/field-service.js'
import { type DeviceExtra, openField } from './field-harness.js'

export const actor = { kind: 'cli', name: 'test' } as const
export const raw = (address: number, ...values: number[]): WriteItem => ({ register_type: 'holding', address, values })
export const coil = (address: number, ...values: (boolean | number)[]): WriteItem => ({
  register_type: 'coil',
  address,
  values,
})
export const outcomes = (results: unknown) => (results as WriteResult[]).map((result): WriteOutcome => result.outcome)

/** Unit 1 of a virtual device, `unit1`, whose holding register 10 is 7; how it is written and read, and what reached it. */
export async function plant(extra: DeviceExtra = {}, unit = {}, options: Partial<FieldServiceOptions> = {}) {
  const field = await openField({ port: 0, units: { 1: { holding: { 10: 7 }, ...unit } } }, { unit1: extra }, options)
  const write = (...items: WriteItem[]) => field.field.request({ op: 'write', device_id: 'unit1', items, actor })
  const read = async (address: number, count = 1, source: 'live' | 'cache' = 'live') =>
    (await field.field.request({ op: 'read', device_id: 'unit1', register_type: 'holding', address, count, source }))
      .values
  const wire = () => field.plant.log.map(({ type, address, values }) => ({ type, address, values }))
  return { ...field, write, read, wire }
}
