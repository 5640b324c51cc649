import { RouteMQError } from '../support/errors.js'

/** Who may open a bus. */
export type BusHolder =
  | { readonly mine: true; readonly owner: string }
  /** `owner` is the instance that has it; null where nobody is known to. */
  | { readonly mine: false; readonly owner: string | null; readonly reason: string }

/** Tells which buses this process may open, where several installations share them. */
export interface BusOwnership {
  holder(bus: string): BusHolder
  /** Resolves when it is decided who has the bus, or after a while; undefined where it is. Asking wants the bus. */
  decided(bus: string): Promise<void> | undefined
}

/** The refusal of a request for a bus that is not opened here. */
export function standbyError(bus: string, deviceId: string, { owner, reason }: BusHolder & { readonly mine: false }) {
  const sentence = `Device ${deviceId} is on bus ${bus}, which this installation does not open: ${reason}`
  return new RouteMQError('BUS_STANDBY', sentence, { details: { device_id: deviceId, bus, owner } })
}
