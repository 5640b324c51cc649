import { execFile } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { startVirtualDevice, type VirtualDeviceOptions } from '../../../../core/modbus/server/virtual-device.js'
import { createTransport } from '../../../../core/modbus/transport/open.js'
import { openSerialLine } from '../serial-line.js'
import { type Bench, UNITS } from './transport-contract.js'

/** The lines of the tests are processes, which a busy machine holds up for longer than any adapter. */
const COPY_MS = 800

/** A virtual device and our client on one socket. */
export async function bench(kind: NonNullable<VirtualDeviceOptions['kind']>): Promise<Bench> {
  const device = await startVirtualDevice({ kind, units: UNITS })
  const transport = createTransport(device.endpoint, { copyMs: COPY_MS })
  return {
    device,
    transport,
    async close() {
      await transport.close()
      await device.close()
    },
  }
}

/** The same with a certificate made for the occasion. */
export async function tlsBench(): Promise<Bench> {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-tls-'))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1']
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1']
  await promisify(execFile)('openssl', [...request, '-keyout', key, '-out', cert, ...subject])
  // One certificate on both sides, required of the client too: Modbus/TCP Security is mutual.
  const device = await startVirtualDevice({ kind: 'tls', tls: { cert, key, ca: cert }, units: UNITS })
  const endpoint = { kind: 'tls', host: '127.0.0.1', port: device.port, ca: cert, cert, key } as const
  const transport = createTransport(endpoint)
  return {
    device,
    transport,
    endpoint,
    async close() {
      await transport.close()
      await device.close()
      await rm(folder, { recursive: true })
    },
  }
}

/** The same on a paced line. */
export async function serialBench(kind: 'serial_rtu' | 'serial_ascii'): Promise<Bench> {
  const line = await openSerialLine(2, 115_200)
  const settings = { kind, baudRate: 115_200, parity: 'none', dataBits: 8, stopBits: 1 } as const
  const device = await startVirtualDevice({ line: { ...settings, path: line.paths[1]! }, units: UNITS })
  const transport = createTransport({ ...settings, path: line.paths[0]! }, { copyMs: COPY_MS })
  return {
    device,
    transport,
    async close() {
      await transport.close()
      await device.close()
      await line.close()
    },
  }
}
