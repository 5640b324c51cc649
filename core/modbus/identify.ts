import { type ErrorShape, toErrorShape } from '../support/errors.js'
import type { Device } from './device.js'
import type { Identity } from './field.js'
import type { Patience } from './patience.js'
import type { ModbusCall } from './transport/transport.js'

/** Names of the objects every device has, and those it may have (V1.1b3, 6.21). */
const OBJECTS = ['vendor', 'product_code', 'revision', 'vendor_url', 'product', 'model', 'application']
const REGULAR = 2
/** Answers of function 43 that say "more follows", at most. */
const MOST_PARTS = 32

/** Asks a unit for functions 17 and 43/14. @throws RouteMQError where it answers neither. */
export async function identify(device: Device, patience: Patience): Promise<Identity> {
  const errors: ErrorShape[] = []
  const failures: unknown[] = []
  const attempt = async <T>(call: ModbusCall, ask: () => Promise<T>): Promise<T | null> => {
    try {
      return await ask()
    } catch (error) {
      const known = device.toError(error, call)
      failures.push(known)
      errors.push(toErrorShape(known))
      return null
    }
  }
  const serverId: ModbusCall = { fc: 17 }
  const server_id = await attempt(serverId, async () => {
    const { data } = await device.attempt(serverId, 'read', 'identify', patience)
    // The first byte counts those that follow.
    const bytes = data.subarray(1)
    return { hex: bytes.toString('hex'), text: printable(bytes) }
  })
  const first: ModbusCall = { fc: 43, deviceIdCode: REGULAR, objectId: 0 }
  const objects = await attempt(first, () => objectsOf(device, patience))
  if (failures.length === 2) throw failures[0]
  return { device_id: device.id, server_id, objects, errors }
}

async function objectsOf(device: Device, patience: Patience): Promise<Record<string, string>> {
  const objects: Record<string, string> = {}
  for (let part = 0, objectId = 0; part < MOST_PARTS; part += 1) {
    const { data } = await device.attempt({ fc: 43, deviceIdCode: REGULAR, objectId }, 'read', 'identify', patience)
    // MEI type, code, conformity, more follows, next object, number of objects, then id, length, bytes each.
    for (let at = 6; at + 2 <= data.length; ) {
      const id = data[at]!
      const length = data[at + 1]!
      objects[OBJECTS[id] ?? `object_${id}`] = printable(data.subarray(at + 2, at + 2 + length))
      at += 2 + length
    }
    const next = data[4] ?? 0
    if (data[3] !== 0xff || next <= objectId) break
    objectId = next
  }
  return objects
}

function printable(bytes: Buffer): string {
  return bytes
    .toString('latin1')
    .replace(/[^\x20-\x7e\xa0-\xff]+/g, ' ')
    .trim()
}
