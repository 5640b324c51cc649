import assert from 'node:assert/strict'
import { test } from 'node:test'
import { takeOver } from '../../../core/cli/nexusbus/take-over.js'
import type { PlantChanges } from '../../../core/http/services/plant.js'
import { changedPlant, refusedChanges } from '../../../core/kernel/plant-changes.js'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import { RouteMQError } from '../../../core/support/errors.js'

const known = {
  devices: [normalizeDevice({ device_id: 'here', host: '10.0.0.1', port: 502 })],
  targets: [normalizeTarget({ device_id: 'here', address: 7 }, 1)],
}
const device = (device_id: string, more: object = {}) => ({ device_id, host: '10.0.0.2', port: 502, ...more })
const target = (device_id: string, address: number) => ({ device_id, address })

/** A product that can carry two targets. */
function product() {
  const asked: PlantChanges[] = []
  const change = async (changes: PlantChanges) => {
    asked.push(changes)
    const tooMany = new RouteMQError('BUS_LOAD_REFUSED', 'too many')
    const { refused } = changedPlant(
      known,
      changes,
      (_, fresh) => new Map(fresh.slice(2).map((one) => [one, tooMany])),
      0,
    )
    if (refused.length > 0) throw refusedChanges(refused)
  }
  return { asked, change }
}

test('what can be had of a NexusBus plant comes in one change; what cannot is told, item by item', async () => {
  const { asked, change } = product()
  const plant = {
    devices: [device('here'), device('a'), device('clash', { framer: 'SOCKET' }), device('b/c'), device('off')],
    targets: [...[1, 2, 3].map((at) => target('a', at)), target('here', 7), target('clash', 1), target('a', 70_000)],
  }
  const { devices, targets } = await takeOver(plant, known, change)
  const told = ({ created, kept, refused }: typeof devices) => ({
    created,
    kept,
    refused: refused.map(({ what, code }) => `${what}: ${code}`),
  })
  assert.deepEqual(told(devices), {
    created: 2,
    kept: 1,
    refused: ['device clash: BUS_CONFLICT', 'device b/c: DEVICE_INVALID'],
  })
  assert.deepEqual(told(targets), {
    created: 2,
    kept: 1,
    refused: [
      'target a holding 70000 1: TARGET_INVALID',
      'target clash holding 1 1: DEVICE_UNKNOWN',
      'target a holding 3 1: BUS_LOAD_REFUSED',
    ],
  })
  const last = asked.at(-1)!
  assert.deepEqual([last.devices.create.length, last.targets.create.length], [2, 2])
})

test('a product that goes away while it is asked ends the take-over', async () => {
  const gone = new RouteMQError('NOT_RUNNING', 'it went away')
  await assert.rejects(
    takeOver({ devices: [device('a')], targets: [] }, known, () => Promise.reject(gone)),
    gone,
  )
})
