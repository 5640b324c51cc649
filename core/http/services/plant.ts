import type { CacheEntry } from '../../modbus/cache.js'
import type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from '../../modbus/device-record.js'
import type { Actor } from '../../modbus/field.js'
import type { DevicePlan } from '../../poller/device-plan.js'
import type { ErrorCode } from '../../support/error-codes.js'

type DeviceFields = Partial<Omit<DeviceInput, 'device_id'>>

/** Fields that change, or what makes them of the record as it is when their turn comes. */
type DeviceChanges = DeviceFields | ((device: DeviceRecord) => DeviceFields)

/** Every change takes who asked, for the audit. Unknown ids reject with DEVICE_UNKNOWN. */
export interface DeviceService {
  list(filter?: { readonly activeOnly?: boolean }): Promise<readonly DeviceRecord[]>
  get(id: string): Promise<DeviceRecord>
  /** Rejects with DEVICE_EXISTS, DEVICE_INVALID, BUS_CONFLICT. */
  create(input: DeviceInput, actor: Actor): Promise<DeviceRecord>
  /** With `wholeBus`, what changes of where its bus is and how it is used changes for all devices of the bus. */
  update(
    id: string,
    changes: DeviceChanges,
    actor: Actor,
    options?: { readonly wholeBus?: boolean },
  ): Promise<DeviceRecord>
  /** Soft: `is_active` becomes false. */
  remove(id: string, actor: Actor): Promise<void>
  activate(id: string, actor: Actor): Promise<DeviceRecord>
  /** Reads the database again; the ids of the active devices. */
  reload(actor: Actor): Promise<readonly string[]>
  gateways(): readonly GatewayView[] | Promise<readonly GatewayView[]>
}

/** One bus, as `/api/devices/gateways` lists it; more fields are welcome. `host` is the path of a serial line. */
export interface GatewayView {
  readonly host: string | null
  readonly port: number | null
  readonly connected: boolean
  readonly [fact: string]: unknown
}

export interface TargetService {
  list(filter?: { readonly activeOnly?: boolean; readonly deviceId?: string }): Promise<readonly TargetRecord[]>
  /** Rejects with TARGET_UNKNOWN. */
  get(id: number): Promise<TargetRecord>
  /** Rejects with DEVICE_UNKNOWN, TARGET_INVALID, BUS_LOAD_REFUSED (unless forced). */
  create(input: TargetInput, actor: Actor, options?: { readonly force?: boolean }): Promise<TargetRecord>
  update(
    id: number,
    changes: Partial<TargetInput>,
    actor: Actor,
    options?: { readonly force?: boolean },
  ): Promise<TargetRecord>
  remove(id: number, actor: Actor): Promise<void>
  activate(id: number, actor: Actor): Promise<TargetRecord>
}

/** Changes of devices and polling targets that belong together. */
export interface PlantChanges {
  readonly devices: {
    readonly create: readonly DeviceInput[]
    readonly update: readonly { readonly device_id: string; readonly changes: DeviceFields }[]
  }
  readonly targets: {
    readonly create: readonly TargetInput[]
    readonly update: readonly { readonly id: number; readonly changes: Partial<TargetInput> }[]
  }
}

/** How many changes there were. `unchanged` counts updates after which all is as it was. */
export interface PlantChanged {
  /** Of buses that are nearly full or overloaded with what was changed. */
  readonly warnings: readonly string[]
  readonly devices: { readonly created: number; readonly updated: number; readonly unchanged: number }
  readonly targets: { readonly created: number; readonly updated: number; readonly unchanged: number }
}

/** One change that is refused: `targets.create.3` is the fourth of that list. */
export interface RefusedChange {
  readonly change: string
  readonly code: ErrorCode
  readonly message: string
}

export interface PlantService {
  /**
   * Carries out all of them, or none: rejects with the code of the first that is refused, `details.refused` naming each
   * ({@link RefusedChange}). Devices and the load of the buses are checked as they are with all changes made.
   */
  change(
    changes: PlantChanges,
    actor: Actor,
    options?: { readonly force?: boolean; readonly dryRun?: boolean },
  ): Promise<PlantChanged>
}

export interface CacheService {
  /** The live entries, newest value each; all devices, or those of one. `key` is `device:type:address:count`. */
  entries(deviceId?: string): readonly CacheEntry[]
  /** Drops all entries and says how many there were. */
  clear(actor: Actor): number | Promise<number>
}

export interface BusView {
  readonly id: string
  readonly connected: boolean
  readonly devices: readonly string[]
  /** Its devices by id. */
  readonly device_states?: Readonly<Record<string, DeviceStateView>>
  readonly [fact: string]: unknown
}

export interface DeviceStateView {
  /** `standby`: another installation owns the bus. */
  readonly state: 'unknown' | 'online' | 'offline' | 'conflict' | 'standby'
  readonly reason?: string
}

/** Milliseconds of a round trip on its bus; null before the first answer. */
export type DevicePlanView = DevicePlan & { readonly measured_round_trip_ms: number | null }

export interface BusLoadView {
  /** Of the time of the bus. */
  readonly percent: number
  /** A sentence where that is over 80 %, or where an answer may come too late. */
  readonly warning: string | null
}
