import { Plant, type PlantOptions } from '../../../core/kernel/plant.js'
import type { PlantTables } from '../../../core/kernel/plant-tables.js'
import type { DeviceInput, DeviceRecord, TargetRecord } from '../../../core/modbus/device-record.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { systemClock } from '../../../core/support/clock.js'

export const ACTOR = { kind: 'cli', name: 'test' } as const

/** Tables of a plant in memory; their rows may be edited by hand, as with SQL. */
export interface MemoryTables extends PlantTables {
  /** What every update of a device stored. */
  readonly patches: readonly object[]
  edit(id: string, fields: Partial<DeviceRecord>): void
}

export function memoryTables(): MemoryTables {
  let devices: DeviceRecord[] = []
  let targets: TargetRecord[] = []
  let revision = 0
  const patches: object[] = []
  const edit = (id: string, fields: object) => {
    devices = devices.map((each) => (each.device_id === id ? ({ ...each, ...fields } as DeviceRecord) : each))
    revision += 1
  }
  const tables: MemoryTables = {
    patches,
    edit,
    async transaction(work) {
      const before = [devices, targets] as const
      return work(tables).catch((error: unknown) => {
        ;[devices, targets] = before
        throw error
      })
    },
    devices: {
      list: async () => devices,
      insert: async (input: DeviceInput) => {
        devices = [...devices, normalizeDevice(input)]
        revision += 1
      },
      update: async (id, patch) => {
        patches.push(patch)
        edit(id, patch)
      },
      seed: async () => false,
    },
    targets: {
      list: async () => targets,
      insert: async (input) => {
        const target = normalizeTarget(input, targets.length + 1)
        targets = [...targets, target]
        revision += 1
        return target
      },
      update: async (id, patch) => {
        targets = targets.map((each) => (each.id === id ? ({ ...each, ...patch } as TargetRecord) : each))
        revision += 1
      },
      seed: async () => false,
    },
    revision: { current: async () => String(revision) },
  }
  return tables
}

export function plantOf(options: Pick<PlantOptions, 'tables'> & Partial<PlantOptions>): Plant {
  return new Plant({
    file: { devices: [] },
    apply: () => {},
    gateways: () => Promise.reject(new Error('not asked for here')),
    audit: async () => {},
    relocate: (device) => device,
    logger: silentLogger,
    clock: systemClock,
    ...options,
  })
}
