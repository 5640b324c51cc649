import assert from 'node:assert/strict'
import { test } from 'node:test'
import { ClientTransport } from '../../../../core/modbus/transport/client-transport.js'
import { LineEcho } from '../../../../core/modbus/transport/line-echo.js'
import type { LinkEvents } from '../../../../core/modbus/transport/link.js'
import { mbapFraming } from '../../../../core/modbus/transport/mbap-framing.js'
import type { TransportError } from '../../../../core/modbus/transport/transport.js'
import { silentLogger } from '../../../../core/observability/logger.js'
import { systemClock } from '../../../../core/support/clock.js'

test('a link that takes nothing any more is lost at once, not when the event loop gets round to telling', async () => {
  let writable = true
  let closed = 0
  let told: LinkEvents | undefined
  const transport = new ClientTransport({
    name: 'tcp x:1',
    framing: mbapFraming,
    createLink: () => ({
      async open(events) {
        told = events
      },
      write: () => writable,
      async close() {
        closed += 1
      },
    }),
    maxInFlight: 4,
    quietMs: 0,
    copyMs: 0,
    characterMs: 0,
    echo: new LineEcho(),
    clock: systemClock,
    logger: silentLogger,
  })
  const causes: string[] = []
  transport.onLost((cause) => causes.push(cause.message))
  await transport.connect({ timeoutMs: 100 })
  const kind = (error: TransportError) => error.failure.kind
  const ask = () => transport.call(1, { fc: 3, address: 0, count: 1 }, { timeoutMs: 60_000 }).then(() => 'ok', kind)
  const pending = ask()
  writable = false
  const refused = ask()
  // Within the very turn: no timer and no event of a socket ran in between.
  assert.equal(transport.state, 'lost')
  assert.deepEqual(causes, ['the connection takes nothing any more'])
  assert.deepEqual(await Promise.all([pending, refused, ask()]), ['lost', 'not_sent', 'not_sent'])
  told!.closed(new Error('reset'))
  assert.equal(causes.length, 1)
  assert.equal(closed, 1)
})
