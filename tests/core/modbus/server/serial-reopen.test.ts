import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as wait } from 'node:timers/promises'
import { startVirtualDevice } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { serialUnavailable } from '../serial-line.js'

const unavailable = await serialUnavailable()
const settings = { kind: 'serial_rtu', baudRate: 115_200, parity: 'none', dataBits: 8, stopBits: 1 } as const

test('an adapter that is unplugged and comes back is opened again, on both ends', {
  skip: unavailable ?? false,
}, async () => {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-unplug-'))
  const [master, slave] = [join(folder, 'master'), join(folder, 'slave')]
  const plug = async (): Promise<ChildProcess> => {
    const child = spawn('/usr/bin/socat', [`pty,raw,echo=0,link=${master}`, `pty,raw,echo=0,link=${slave}`])
    await eventually(() => Promise.all([access(master), access(slave)]))
    return child
  }
  const unplug = async (child: ChildProcess) => {
    const gone = new Promise((resolve) => child.once('exit', resolve))
    child.kill('SIGTERM')
    await gone
  }

  let cable = await plug()
  const device = await startVirtualDevice({ line: { ...settings, path: slave }, units: { 1: { holding: [7] } } })
  const transport = createTransport({ ...settings, path: master })
  const read = () => transport.call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 2_000 })
  // An attempt that was given up leaves the line free.
  await assert.rejects(transport.connect({ timeoutMs: 1_000, signal: AbortSignal.abort() }), /aborted/)
  await eventually(() => transport.connect({ timeoutMs: 1_000 }))
  assert.deepEqual((await read()).values, [7])

  const lost = new Promise((resolve) => transport.onLost(resolve))
  await unplug(cable)
  await lost
  assert.equal(transport.state, 'lost')
  cable = await plug()
  await eventually(async () => {
    await transport.connect({ timeoutMs: 1_000 })
    assert.deepEqual((await read()).values, [7])
  })

  await transport.close()
  await device.close()
  await unplug(cable)
  await rm(folder, { recursive: true })
})

async function eventually(attempt: () => Promise<unknown>): Promise<void> {
  const end = performance.now() + 30_000
  for (;;) {
    try {
      await attempt()
      return
    } catch (error) {
      if (performance.now() > end) throw error
      await wait(20)
    }
  }
}
