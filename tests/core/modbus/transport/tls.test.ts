import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import type { BusEndpoint, TransportError } from '../../../../core/modbus/transport/transport.js'
import { tlsBench } from './benches.js'
import type { Bench } from './transport-contract.js'

const full = { timeoutMs: 10_000 }

describe('TLS', () => {
  let bench: Bench
  before(async () => {
    bench = await tlsBench()
  })
  after(() => bench.close())

  test('a certificate nobody vouches for ends the connection before a byte of Modbus', async () => {
    const { port } = bench.device
    const stranger = createTransport({ kind: 'tls', host: '127.0.0.1', port })
    await assert.rejects(stranger.connect(full), (error: TransportError) => {
      assert.equal(error.failure.kind, 'not_sent')
      assert.match(error.message, /self-signed/)
      return true
    })
    assert.equal(bench.device.requests, 0)
  })

  test('a certificate for another name is refused', async () => {
    const endpoint = { ...(bench.endpoint as BusEndpoint & { kind: 'tls' }), servername: 'elsewhere.example' }
    await assert.rejects(createTransport(endpoint).connect(full), /does not match/)
  })

  test('a certificate that lies where nobody answers ends the attempt in time, and is read once however often it is tried', async (t) => {
    const folder = await mkdtemp(join(tmpdir(), 'routemq-tls-'))
    const fifo = join(folder, 'ca.pem')
    execFileSync('/usr/bin/mkfifo', [fifo])
    // Whoever waits for it is let go, one for each time it is opened to be written.
    t.after(async () => {
      await writeFile(fifo, '')
      await rm(folder, { recursive: true })
    })
    const { port } = bench.device
    for (let nth = 0; nth < 5; nth += 1) {
      const transport = createTransport({ kind: 'tls', host: '127.0.0.1', port, ca: fifo })
      await assert.rejects(transport.connect({ timeoutMs: 50 }), /did not open/)
      await transport.close()
    }
    // Four threads read files: one is taken.
    assert.equal(await readFile(import.meta.filename, 'utf8').then((text) => text.length > 0), true)
  })

  test('a client without its certificate gets no answer', async () => {
    const { cert: _, key: __, ...endpoint } = bench.endpoint as BusEndpoint & { kind: 'tls' }
    const transport = createTransport(endpoint)
    const attempt = transport.connect(full).then(() => transport.call(1, { fc: 3, address: 0, count: 1 }, full))
    await assert.rejects(attempt, (error: TransportError) => ['not_sent', 'lost'].includes(error.failure.kind))
    assert.equal(bench.device.requests, 0)
    await transport.close()
  })
})
