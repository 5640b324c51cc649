/** Whether a device can be read. `offline` says why; `bus_down` follows from its bus and is no event of its own. */
export type DeviceState =
  | { readonly name: 'unknown' }
  | { readonly name: 'online' }
  | { readonly name: 'offline'; readonly reason: 'silent' | 'bus_down' }

/** What changed in the field; changes only, never repetitions. `at` is wall clock milliseconds. */
export type FieldEvent =
  | {
      readonly type: 'bus'
      readonly bus: string
      readonly state: 'up' | 'down'
      readonly cause?: string
      readonly devices: readonly string[]
      readonly at: number
    }
  | { readonly type: 'device'; readonly device_id: string; readonly state: DeviceState; readonly at: number }
  | { readonly type: 'breaker'; readonly device_id: string; readonly state: 'open' | 'closed'; readonly at: number }
  | { readonly type: 'device_removed'; readonly device_id: string; readonly at: number }
  /** Buses that this installation owns from now on, or leaves to another one. */
  | {
      readonly type: 'owner'
      readonly buses: readonly string[]
      readonly mine: boolean
      readonly owner: string | null
      readonly at: number
    }
