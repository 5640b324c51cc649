import assert from 'node:assert/strict'
import { before, describe, test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { WriteItem, WriteResult } from '../../../core/modbus/field.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { startVirtualDevice, type VirtualDevice } from '../../../core/modbus/server/virtual-device.js'
import { atEnd, failure } from './field-harness.js'
import { FIELD_SETTINGS } from './field-settings.js'
import { openSerialLine, type SerialLine, serialUnavailable } from './serial-line.js'

const unavailable = await serialUnavailable()
const baudRate = 38_400
const settings = { baudRate, parity: 'even', dataBits: 8, stopBits: 1 } as const
const ownFunction = (data: Buffer) => Buffer.from([0xaa, ...[...data].reverse()])

// Every line at once: most of it is waiting for units that are not there.
describe('writes over serial lines', { concurrency: true }, () => {
  for (const framer of ['RTU', 'ASCII'] as const) {
    const kind = framer === 'RTU' ? 'serial_rtu' : 'serial_ascii'

    /** Two units on a line of their own, unit 3 which is not there, and unit 0 which is everybody. */
    const openPlant = async (echoing?: number) => {
      const line: SerialLine = await openSerialLine(3, baudRate, echoing)
      const devices: VirtualDevice[] = []
      for (const unit of [1, 2]) {
        const holding = { 10: 0x12, 20: unit * 100, 21: 6 }
        const units = { [unit]: { holding, coil: [false], functions: { 65: ownFunction } } }
        devices.push(await startVirtualDevice({ line: { kind, ...settings, path: line.paths[unit]! }, units }))
      }
      /** Who is there has time to answer: the line is made of processes. */
      const open = (options: Record<string, unknown> = {}, timeoutMs = 10_000) => {
        const field = new FieldService({
          ...FIELD_SETTINGS,
          config: { ...FIELD_SETTINGS.config, breaker: { failures: 1_000, recoveryMs: 10 } },
        })
        const serial = { path: line.paths[0]!, baud_rate: baudRate, parity: 'even', data_bits: 8, stop_bits: 1 }
        const common = {
          ...serial,
          framer,
          max_retries: 0,
          options: { late_grace_ms: 50, ...options },
        }
        field.apply([
          ...[1, 2, 3].map((slave_id) => {
            const timeout_ms = slave_id === 3 ? 1_000 : timeoutMs
            return normalizeDevice({ device_id: `unit${slave_id}`, slave_id, timeout_ms, ...common })
          }),
          normalizeDevice({ device_id: 'all', unit_id: 0, timeout_ms: 1_000, ...common }),
        ])
        const write = (device_id: string, ...items: WriteItem[]) => field.request({ op: 'write', device_id, items })
        const outcomes = (device_id: string, ...items: WriteItem[]) =>
          write(device_id, ...items).then(
            ({ results }) => results.map(({ outcome }) => outcome),
            (error) => (error.details.results as WriteResult[]).map(({ outcome }) => outcome),
          )
        const read = async (device_id: string, address = 20) =>
          (await field.request({ op: 'read', device_id, register_type: 'holding', address, count: 1 })).values[0]
        atEnd(() => field.stop(100))
        return { field, write, outcomes, read, echo: () => field.gateways()[0]!.echo, close: () => field.stop(1_000) }
      }
      const close = async () => {
        for (const device of devices) await device.close()
        await line.close()
      }
      atEnd(close)
      return { devices, open }
    }
    type Plant = Awaited<ReturnType<typeof openPlant>>
    const register = (address: number, value: number): WriteItem => ({
      register_type: 'holding',
      address,
      values: [value],
    })

    describe(`${framer} over a serial line`, { concurrency: false, skip: unavailable ?? false }, () => {
      let plant: Plant
      before(async () => {
        plant = await openPlant()
      })

      test('every kind of write, raw and by functions of the device, reaches the unit that was named', async () => {
        const master = plant.open()
        const { results } = await master.write(
          'unit1',
          { register_type: 'coil', address: 0, values: [true] },
          { address: 10, and: 0xfff0, or: 0x0005 },
          { register_type: 'holding', address: 30, values: [7, 8], read: { address: 20, count: 2 } },
          { function: 65, data: '0102ff' },
        )
        assert.deepEqual(
          results.map(({ outcome, values, data }) => [outcome, values, data]),
          [
            ['ok', undefined, undefined],
            ['ok', undefined, undefined],
            ['ok', [100, 6], undefined],
            ['ok', undefined, 'aaff0201'],
          ],
        )
        const [one, two] = plant.devices
        assert.deepEqual([one!.get(1, 'coil', 0), one!.get(1, 'holding', 10)], [1, 0x15])
        assert.deepEqual([one!.get(1, 'holding', 30), one!.get(1, 'holding', 31)], [7, 8])
        assert.equal(two!.log.length, 0)
        const silent = await failure(master.write('unit3', register(5, 1), { function: 65, data: '01' }))
        assert.equal(silent.code, 'WRITE_OUTCOME_UNKNOWN')
        assert.deepEqual(
          (silent.details.results as WriteResult[]).map(({ outcome }) => outcome),
          ['unknown', 'not_sent'],
        )
        await master.close()
      })

      test('a broadcast reaches everybody and is confirmed by nobody; what was cached before is gone', async () => {
        const master = plant.open()
        assert.deepEqual([await master.read('unit1'), await master.read('unit2')], [100, 200])
        const items: WriteItem[] = [register(20, 99), { address: 21, and: 0, or: 98 }, { function: 65, data: '01' }]
        assert.deepEqual(await master.outcomes('all', ...items), ['unknown', 'unknown', 'unknown'])
        for (const id of ['unit1', 'unit2']) {
          const read = { op: 'read', device_id: id, register_type: 'holding', address: 20, count: 2 } as const
          const { source, values } = await master.field.request({ ...read, source: 'cache' })
          assert.deepEqual([source, values], ['live', [99, 98]])
        }
        const exchange: WriteItem = {
          register_type: 'holding',
          address: 20,
          values: [1],
          read: { address: 0, count: 1 },
        }
        assert.deepEqual(await master.outcomes('all', exchange), ['not_sent'])
        await master.close()
      })

      test('local_echo set where there is none: reads go on, nothing is taken for confirmed, and people are told', async () => {
        const master = plant.open({ local_echo: true }, 1_000)
        assert.equal(await master.read('unit1', 30), 7)
        assert.match(master.field.gateways()[0]!.notice!, /^LINE_ECHO: local_echo is set/)
        assert.deepEqual(await master.outcomes('unit1', register(41, 5)), ['unknown'])
        await master.close()
      })

      test('the first write shows that nothing comes back of what is sent, once', async () => {
        const master = plant.open()
        assert.equal(master.echo(), 'unknown')
        const before = plant.devices[0]!.requests
        assert.deepEqual(await master.outcomes('unit1', register(40, 1)), ['ok'])
        assert.equal(master.echo(), 'absent')
        assert.equal(plant.devices[0]!.requests, before + 2)
        assert.deepEqual(await master.outcomes('unit1', register(40, 2)), ['ok'])
        assert.equal(plant.devices[0]!.requests, before + 3)
        await master.close()
      })
    })

    describe(`${framer} over an adapter that hears what it sends`, {
      concurrency: false,
      skip: unavailable ?? false,
    }, () => {
      let plant: Plant
      before(async () => {
        plant = await openPlant(0)
      })

      test('a write to a unit that is not there is not confirmed, be it the first thing on the line', async () => {
        const master = plant.open()
        assert.deepEqual(await master.outcomes('unit3', register(5, 1)), ['unknown'])
        assert.equal(master.echo(), 'present')
        assert.match(master.field.gateways()[0]!.notice!, /^LINE_ECHO: .*local_echo/)
        assert.deepEqual(await master.outcomes('unit3', register(5, 2)), ['unknown'])
        assert.deepEqual(await master.outcomes('unit3', { address: 10, and: 0, or: 1 }), ['unknown'])
        assert.deepEqual(await master.outcomes('unit3', { function: 65, data: '01' }), ['unknown'])
        await master.close()
      })

      test('units that are there are read and written as on any line', async () => {
        const master = plant.open()
        assert.deepEqual(await master.outcomes('unit1', register(40, 11)), ['ok'])
        assert.equal(master.echo(), 'present')
        for (let round = 0; round < 5; round += 1) {
          assert.equal(await master.read('unit2', 20), 200)
          const items: WriteItem[] = [
            register(41, round),
            { register_type: 'holding', address: 50, values: [round, 2] },
            { register_type: 'coil', address: 0, values: [round % 2 === 0] },
          ]
          assert.deepEqual(await master.outcomes('unit2', ...items), ['ok', 'ok', 'ok'])
          const { results } = await master.write('unit2', { function: 65, data: '07' })
          assert.equal(results[0]!.data, 'aa07')
        }
        assert.equal(plant.devices[0]!.get(1, 'holding', 40), 11)
        assert.equal(plant.devices[1]!.get(2, 'holding', 41), 4)
        await master.close()
      })

      test('with local_echo set a function of the device is not confirmed by itself, before anything was read', async () => {
        const master = plant.open({ local_echo: true })
        assert.deepEqual(await master.outcomes('unit3', { function: 65, data: '01' }), ['unknown'])
        const { results } = await master.write('unit1', { function: 65, data: '0102' })
        assert.equal(results[0]!.data, 'aa0201')
        assert.equal(await master.read('unit1'), 100)
        assert.equal(master.field.gateways()[0]!.notice, null, 'what is heard is what was said')
        await master.close()
      })
    })
  }
})
