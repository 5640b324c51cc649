import type { CliContext } from './context.js'
import type { DeviceAccess } from './device-access.js'

const PATIENCE_MS = 1_000

/** The same devices; who waits at a terminal for longer than a second is told for whom, once. */
export function tellingWhoIsWaitedFor(devices: DeviceAccess, { terminal, err }: CliContext): DeviceAccess {
  if (!terminal) return devices
  let isTold = false
  const told = async <T>(device: string, answer: Promise<T>): Promise<T> => {
    const timer = setTimeout(() => {
      if (!isTold) err(`Waiting for device ${device}. Ctrl-C gives up.`)
      isTold = true
    }, PATIENCE_MS)
    return answer.finally(() => clearTimeout(timer))
  }
  return {
    ...devices,
    request: (request, signal) => told(request.device_id, devices.request(request, signal)),
    readPoints: (read, signal) => told(read.device_id, devices.readPoints(read, signal)),
  }
}
