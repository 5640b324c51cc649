import type { Config } from '../config/config.js'
import type { DeviceRecord } from '../modbus/device-record.js'
import { startVirtualDevice, type VirtualDevice } from '../modbus/server/virtual-device.js'
import type { Logger } from '../observability/logger.js'

/** Float32 12.5 as two registers, the most significant first. */
const POWER: readonly [number, number] = [0x4148, 0x0000]

/** Demo mode's plant: a virtual Modbus TCP device on a real socket, with what the default application expects of it. */
export function startDemoPlant(at: NonNullable<Config['modbus']['demoPort']>, logger: Logger): Promise<VirtualDevice> {
  return startVirtualDevice({
    port: at.port,
    mayMove: at.mayMove,
    logger,
    units: {
      1: {
        holding: { 1: 453, 2: POWER[0], 3: POWER[1], 4: 0, 5: 81_234 & 0xffff, 10: 20, 11: 210, 12: 3 },
        moving: {
          holding: {
            0: { kind: 'sine', centre: 215, amplitude: 15, periodMs: 60_000 },
            1: { kind: 'walk', start: 453, step: 4, min: 300, max: 600, everyMs: 1_000 },
          },
        },
        coils: { 0: true },
        ranges: { holding: [[0, 999]], coil: [[0, 99]], input: [[0, 99]], discrete: [[0, 99]] },
        readOnly: { holding: [[0, 5]] },
      },
      2: {
        holding: { 11: 200 },
        moving: { holding: { 0: { kind: 'sine', centre: 195, amplitude: 10, periodMs: 90_000 } } },
        ranges: { holding: [[0, 999]], coil: [[0, 99]] },
        readOnly: { holding: [[0, 5]] },
      },
    },
  })
}

/**
 * Puts devices that are marked `virtual` where the virtual device really listens. Without one they are not active: at the
 * address in their record there may be somebody else's device.
 */
export function placeVirtual(plant: VirtualDevice | undefined): (device: DeviceRecord) => DeviceRecord {
  return (device) => {
    if (device.options.virtual !== true) return device
    if (plant === undefined) return { ...device, is_active: false }
    return { ...device, host: plant.host, port: plant.port }
  }
}
