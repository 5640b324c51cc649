import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../modbus/device-record.js'

/** The tables that the plant lives in; the database implements it. */
export interface PlantTables {
  readonly devices: {
    list(): Promise<readonly DeviceRecord[]>
    insert(input: DeviceInput): Promise<unknown>
    update(deviceId: string, patch: Partial<Omit<DeviceInput, 'device_id'>>): Promise<unknown>
    /** Writes the first devices, once in the life of the database. True where it did. */
    seed(inputs: readonly DeviceInput[]): Promise<boolean>
  }
  readonly targets: {
    list(): Promise<readonly TargetRecord[]>
    insert(input: TargetInput): Promise<TargetRecord>
    update(id: number, patch: Partial<Omit<TargetInput, 'device_id'>>): Promise<unknown>
    seed(inputs: readonly TargetInput[]): Promise<boolean>
  }
  /** All of it, or nothing. */
  transaction<T>(work: (tables: Pick<PlantTables, 'devices' | 'targets'>) => Promise<T>): Promise<T>
  /** Changes whenever somebody, also by hand, changes devices or targets. */
  readonly revision: { current(): Promise<string> }
}
