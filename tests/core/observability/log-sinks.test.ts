import assert from 'node:assert/strict'
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net'
import { hostname, tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { createLogger } from '../../../core/observability/create-logger.js'
import { openLogSinks } from '../../../core/observability/log-sinks.js'
import { syslogMessage } from '../../../core/observability/syslog-message.js'
import { openSender } from '../../../core/observability/syslog-sender.js'
import { freePort } from '../support/free-port.js'
import { until } from '../support/until.js'

/** A syslog server over TCP that reads octet counts as RFC 6587 has them. */
async function tcpReceiver(port: number) {
  const messages: string[] = []
  const sockets = new Set<Socket>()
  const server: Server = createServer((socket) => {
    sockets.add(socket)
    let bytes = Buffer.alloc(0)
    socket.on('data', (chunk) => {
      bytes = Buffer.concat([bytes, chunk])
      for (;;) {
        const space = bytes.indexOf(' ')
        const length = Number(bytes.subarray(0, space).toString())
        if (space < 0 || bytes.length < space + 1 + length) return
        messages.push(bytes.subarray(space + 1, space + 1 + length).toString())
        bytes = bytes.subarray(space + 1 + length)
      }
    })
    socket.on('error', () => {})
  })
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  const close = () =>
    new Promise<void>((resolve) => {
      for (const socket of sockets) socket.destroy()
      server.close(() => resolve())
    })
  return { messages, port: (server.address() as AddressInfo).port, close }
}

test('a record as RFC 5424 has it: severity, time, host, application, process; no field breaks the header', () => {
  const record = `${JSON.stringify({ level: 'error', time: '2026-01-02T03:04:05.678Z', pid: 42, device_id: 'm 1', msg: 'lost' })}\n`
  const from = { hostname: 'plant host', appName: 'Route MQ\n' }
  assert.equal(
    syslogMessage(record, from, false),
    '<131>1 2026-01-02T03:04:05.678Z plant_host Route_MQ_ 42 - - lost device_id="m 1"',
  )
  assert.equal(
    syslogMessage(record, from, true),
    `<131>1 2026-01-02T03:04:05.678Z plant_host Route_MQ_ 42 - - ${record.trimEnd()}`,
  )
  const severities = ['fatal', 'error', 'warn', 'info', 'debug', 'trace'].map(
    (level) => /^<(\d+)>/.exec(syslogMessage(JSON.stringify({ level }), from, false))![1],
  )
  assert.deepEqual(severities, ['130', '131', '132', '134', '135', '135'])
})

test('UDP: one datagram a record, of the gateway and of workers, also what route code prints', async (t) => {
  const receiver = createSocket('udp4')
  const messages: string[] = []
  receiver.on('message', (bytes) => messages.push(bytes.toString()))
  receiver.bind(0, '127.0.0.1')
  await once(receiver, 'listening')
  t.after(() => receiver.close())
  const dir = mkdtempSync(join(tmpdir(), 'routemq-sinks-'))
  t.after(() => rmSync(dir, { recursive: true, force: true }))
  const path = join(dir, 'app.log')
  const config = {
    level: 'info' as const,
    format: 'text' as const,
    file: { path, maxBytes: 1_000_000, keep: 2 },
    syslog: `udp://127.0.0.1:${receiver.address().port}`,
  }
  const sinks = openLogSinks(config, 'Plant')
  const logger = createLogger({ ...config, format: 'json' }, {}, sinks)
  logger.info({ device_id: 'a', password: 'hunter2' }, 'device online')
  sinks.take(
    'slot-1',
    'stdout',
    '{"level":"warn","time":"2026-01-02T03:04:05.678Z","pid":7,"worker":"slot-1","msg":"late"}',
  )
  sinks.take('slot-2', 'stderr', 'TypeError: printed by Bearer abcdefghijklmnop')
  await until(() => messages.length === 3, 'three datagrams')
  await sinks.close()
  const own = `^<134>1 \\S+Z ${hostname()} Plant ${process.pid} - - device online device_id=a password=\\[redacted\\]$`
  assert.match(messages[0]!, new RegExp(own))
  assert.match(messages[1]!, /^<132>1 2026-01-02T03:04:05.678Z \S+ Plant 7 - - late worker=slot-1$/)
  assert.match(messages[2]!, /^<131>1 .* TypeError: printed by Bearer \[redacted\] worker=slot-2 stream=stderr$/)
  const file = readFileSync(path, 'utf8').trim().split('\n')
  assert.equal(file.length, 3)
  assert.match(file[0]!, /Z INFO {2}device online device_id=a password=\[redacted\]$/)
  assert.match(file[1]!, /^2026-01-02T03:04:05.678Z WARN {2}late worker=slot-1$/)
})

test('TCP: frames by octet count, and a server that was away is found again', async () => {
  const first = await tcpReceiver(await freePort())
  const sender = openSender(`tcp://127.0.0.1:${first.port}`)
  sender.send('one with a line\nbreak')
  sender.send('zwei: \u00e4')
  await until(() => first.messages.length === 2, 'two messages')
  assert.deepEqual(first.messages, ['one with a line\nbreak', 'zwei: \u00e4'])
  await first.close()
  const second = await tcpReceiver(first.port)
  // What is written before the loss is seen goes with the connection.
  let sent = 0
  for (; second.messages.length === 0 && sent < 1_500; await pause(20)) sender.send(`again ${sent++}`)
  sender.send('last')
  await sender.close(30_000)
  await until(() => second.messages.includes('last'), 'the last before the end')
  const begin = Number(second.messages[0]!.slice(6))
  const expected = Array.from({ length: sent - begin }, (_, n) => `again ${begin + n}`)
  assert.deepEqual(second.messages, [...expected, 'last'])
  assert.equal(sender.lost, 0)
  await second.close()
})

test('TCP: what waits is bounded; the oldest go, counted', async () => {
  const port = await freePort()
  const sender = openSender(`tcp://127.0.0.1:${port}`)
  for (let n = 0; n < 20; n++) sender.send(`${n}`.padEnd(100_000, '.'))
  assert.equal(sender.lost, 10)
  const back = await tcpReceiver(port)
  await until(() => back.messages.length === 10, 'the newest')
  assert.equal(back.messages[0]!.slice(0, 3), '10.')
  await sender.close()
  await back.close()
})
