import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SerialLink } from '../../../../core/modbus/transport/serial-link.js'
import { openSerialLine, serialUnavailable } from '../serial-line.js'

const skip = (await serialUnavailable()) ?? false

test('an opening that is called off has let go of the line when it says so', { skip }, async (t) => {
  const line = await openSerialLine(2, 9_600)
  t.after(() => line.close())
  const endpoint = {
    kind: 'serial_rtu',
    path: line.paths[0]!,
    baudRate: 9_600,
    parity: 'none',
    dataBits: 8,
    stopBits: 1,
  } as const
  const events = { data: () => {}, closed: () => {} }
  for (let n = 0; n < 20; n += 1) {
    const abort = new AbortController()
    const first = new SerialLink(endpoint).open(events, 5_000, abort.signal)
    abort.abort()
    await assert.rejects(first, /aborted while opening/)
    // The line is taken exclusively: this fails while the first still has it.
    const second = new SerialLink(endpoint)
    await second.open(events, 5_000)
    await second.close()
  }
})
