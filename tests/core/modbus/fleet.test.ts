import assert from 'node:assert/strict'
import { test } from 'node:test'
import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { FieldEvent } from '../../../core/modbus/field-event.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import { ScriptedTransport } from './bus/scripted-bus.js'
import { FIELD_SETTINGS } from './field-settings.js'

/** One device on a line whose answers the test gives. */
async function scripted() {
  const clock = new FakeClock()
  const lines: ScriptedTransport[] = []
  const events: FieldEvent[] = []
  const field = new FieldService({
    ...FIELD_SETTINGS,
    clock,
    createTransport: () => {
      const line = new ScriptedTransport(true)
      lines.push(line)
      return line
    },
    onEvent: (event) => events.push(event),
  })
  const record = (slave_id: number) =>
    normalizeDevice({ device_id: 'meter', host: 'h', port: 502, slave_id, framer: 'SOCKET' })
  field.apply([record(1)])
  const read = { op: 'read', device_id: 'meter', register_type: 'holding', address: 0, count: 1 } as const
  const ask = async () => (await field.request({ ...read, source: 'live' })).values
  const states = () =>
    events.flatMap((event) => (event.type === 'device' ? [event.state.name] : event.type === 'breaker' ? ['!'] : []))
  return { clock, lines, field, record, ask, states }
}

test('what a unit answers late says nothing about the one that has its name now', async () => {
  const { clock, lines, field, record, ask, states } = await scripted()
  const old = ask()
  await clock.advance(0)
  field.apply([record(2)])
  lines[0]!.calls[0]!.answer([7])
  assert.deepEqual(await old, [7], 'who asked before gets what was asked for')
  assert.deepEqual(states(), [])
  assert.deepEqual(field.devices()[0]!.state, 'unknown')
  await field.stop(0)
})

test('what a unit answers on a bus that was given away says nothing about the device when the bus is back', async () => {
  const { clock, lines, field, ask, states } = await scripted()
  const old = ask()
  await clock.advance(0)
  field.release('h:502')
  lines[0]!.calls[0]!.answer([7])
  await old
  assert.deepEqual(states(), ['unknown'], 'that it begins anew')
  lines[0]!.lose(new Error('gone'))
  await clock.advance(10_000)
  assert.deepEqual(states(), ['unknown'])
  await field.stop(0)
})

test('a line that is wanted otherwise is opened again only when it was let go; other buses do not wait', async () => {
  for (const phase of ['opening', 'closing'] as const) {
    const clock = new FakeClock()
    const order: string[] = []
    let letGo = () => {}
    const released = new Promise<void>((resolve) => {
      letGo = resolve
    })
    const field = new FieldService({
      ...FIELD_SETTINGS,
      clock,
      createTransport: (endpoint) => {
        const line = new ScriptedTransport(false)
        if (!('path' in endpoint)) return line
        const isFirst = order.length === 0
        line.connect = async () => {
          order.push(`open ${endpoint.baudRate}`)
          // It cannot be called off, as open(2) cannot.
          if (isFirst && phase === 'opening') await released
        }
        line.close = async () => {
          if (isFirst && phase === 'closing') await released
          order.push(`closed ${endpoint.baudRate}`)
        }
        return line
      },
    })
    const serial = (baud_rate: number) =>
      normalizeDevice({ device_id: 'serial', transport: 'serial', path: '/dev/line', baud_rate, slave_id: 1 })
    const other = normalizeDevice({ device_id: 'other', host: 'h', port: 502, slave_id: 1 })
    const ask = (device_id: string) => {
      field.request({ op: 'read', device_id, register_type: 'holding', address: 0, count: 1 }).catch(() => {})
    }
    field.apply([serial(9_600), other])
    ask('serial')
    await clock.advance(0)
    field.apply([serial(19_200), other])
    ask('serial')
    ask('other')
    await clock.advance(2_000)
    assert.equal(field.gateways().find(({ id }) => id === 'h:502')!.state, 'open', 'it has nothing to do with it')
    assert.deepEqual(order, ['open 9600'], phase)
    letGo()
    await clock.advance(0)
    assert.deepEqual(order, ['open 9600', 'closed 9600', 'open 19200'], phase)
    const stopped = field.stop(0)
    await clock.advance(0)
    await stopped
  }
})

test('a change looks at each device a few times, however many buses there are', () => {
  const field = new FieldService(FIELD_SETTINGS)
  const count = 300
  let looks = 0
  const records = Array.from({ length: count }, (_, n) => {
    const host = `10.0.${n >> 8}.${n & 0xff}`
    const record = normalizeDevice({ device_id: `meter${n}`, host, port: 502, framer: 'SOCKET' })
    const get = () => {
      looks += 1
      return host
    }
    return Object.defineProperty(record, 'host', { get, enumerable: true })
  })
  field.apply(records)
  looks = 0
  field.apply([{ ...records[0]!, timeout: 3 }, ...records.slice(1)])
  assert.equal(field.gateways().length, count)
  assert.ok(looks < 10 * count, `${looks} looks at ${count} devices`)
})
