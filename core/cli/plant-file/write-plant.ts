import { stringify as stringifyCsv } from 'csv-stringify/sync'
import { stringify } from 'yaml'
import type { DeviceRecord, TargetRecord } from '../../modbus/device-record.js'
import type { DeviceOptions } from '../../modbus/device-schema.js'
import { DEVICE_COLUMNS, enumCell, nullCell, POINT_COLUMNS, TARGET_COLUMNS } from './columns.js'

export interface Plant {
  readonly devices: readonly DeviceRecord[]
  readonly targets: readonly TargetRecord[]
}

export function plantYaml(plant: Plant): string {
  // What two records share is written twice: a file that people edit has no anchors they did not set.
  return stringify(content(plant), { aliasDuplicateObjects: false })
}

export function plantJson(plant: Plant): string {
  return `${JSON.stringify(content(plant), null, 2)}\n`
}

export function devicesCsv(devices: readonly DeviceRecord[]): string {
  const rows = devices.map((device) => {
    const { points: _, ...record } = plainDevice(device)
    return cellsOf({ ...record, options: JSON.stringify(record.options) })
  })
  // A record holds what its profile made of it; naming it again would work it in twice.
  return csv(
    DEVICE_COLUMNS.filter((column) => column !== 'profile'),
    rows,
  )
}

export function pointsCsv(devices: readonly DeviceRecord[]): string {
  const rows = devices.flatMap(({ device_id, points }) =>
    points.map((point) => ({
      device_id,
      ...point,
      invalid: point.invalid?.join(';'),
      enum: point.enum && enumCell(point.enum),
    })),
  )
  return csv(POINT_COLUMNS, rows)
}

export function targetsCsv(targets: readonly TargetRecord[]): string {
  const rows = targets.map((target) => cellsOf({ ...plainTarget(target), options: JSON.stringify(target.options) }))
  return csv(TARGET_COLUMNS, rows)
}

function content({ devices, targets }: Plant) {
  return { devices: devices.map(plainDevice), targets: targets.map(plainTarget) }
}

/** Devices whose private key no file gets. */
export function devicesWithKey(devices: readonly DeviceRecord[]): string[] {
  return devices.flatMap(({ device_id, options }) =>
    (options as DeviceOptions).tls?.key === undefined ? [] : [device_id],
  )
}

/** What an import needs to make the same of any record: no times, what is not set as null, no private keys. */
function plainDevice(device: DeviceRecord): Record<string, unknown> {
  const { created_at: _, updated_at: __, options, ...record } = device
  const { tls, ...others } = options as DeviceOptions
  const { key: ___, ...open } = tls ?? {}
  return { ...record, options: tls === undefined ? others : { ...others, tls: open } }
}

/** Without its number: another installation counts its own. */
function plainTarget(target: TargetRecord): Record<string, unknown> {
  const { id: _, created_at: __, updated_at: ___, ...record } = target
  return { ...record }
}

function cellsOf(record: object): object {
  return Object.fromEntries(Object.entries(record).map(([name, value]) => [name, value ?? nullCell(name)]))
}

function csv(columns: readonly string[], rows: readonly object[]): string {
  return stringifyCsv([...rows], {
    header: true,
    columns: [...columns],
    cast: { boolean: String },
    // Blanks around a cell are taken for padding, unless it is quoted.
    quoted_match: /^\s|\s$/,
  })
}
