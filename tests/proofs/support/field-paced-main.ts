import { startVirtualDevice } from '../../../core/modbus/server/virtual-device.js'

// The process behind pacedBus: ten units whose answers take as long as its first argument says, milliseconds.
const answer = { kind: 'delay', ms: Number(process.argv[2]) } as const
const units = Object.fromEntries(Array.from({ length: 10 }, (_, n) => [n + 1, { holding: [n] }]))
const silent = new Set<number>()
const plant = await startVirtualDevice({ units })
plant.faults.choose(({ unit }) => (silent.has(unit) ? { kind: 'deaf' } : answer))
process.on('message', ({ silence }: { silence: number }) => {
  silent.add(silence)
  process.send?.({ silent: silence })
})
process.once('disconnect', () => void plant.close().then(() => process.exit()))
process.send?.({ host: plant.host, port: plant.port })
