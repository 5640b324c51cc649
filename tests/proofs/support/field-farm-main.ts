import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { ENDPOINTS, FARM_REGISTERS, Farm, UNITS } from './field-farm.js'

// The process behind Farm: sends its ports, obeys, ends with its parent.
const holding = Array.from({ length: FARM_REGISTERS }, (_, address) => (address === 47 ? 1 : 1_000 + address))
const units = Object.fromEntries(Array.from({ length: UNITS }, (_, unit) => [unit + 1, { holding }]))
const devices = await Promise.all(
  Array.from({ length: ENDPOINTS }, (_, endpoint) => startVirtualDevice({ host: Farm.host(endpoint), units })),
)
process.on('message', ({ silence }: { silence: number }) => {
  for (const device of devices) device.faults.set(silence, { kind: 'deaf' })
})
process.once('disconnect', () => void Promise.all(devices.map((device) => device.close())).then(() => process.exit()))
process.send?.(devices.map((device) => device.port))
