import { normalizeDevice } from '../../../core/modbus/device-schema.js'
import type { FieldRequest, FieldResponse } from '../../../core/modbus/field.js'
import type { FieldEvent } from '../../../core/modbus/field-event.js'
import { FieldService } from '../../../core/modbus/field-service.js'
import { type ModbusTransport, TransportError } from '../../../core/modbus/transport/transport.js'
import type { RouteMQError } from '../../../core/support/errors.js'
import { FakeClock } from '../../../core/testing/fake-clock.js'
import type { DeviceExtra } from './field-harness.js'
import { FIELD_SETTINGS } from './field-settings.js'

/**
 * A field over one bus whose units answer at once, after `slowMs` or, while they are `silent`, never; a clock that the test
 * moves. A silent unit is waited for as long as the request says, or for `silenceMs`.
 */
export function scriptedField(
  extras: Readonly<Record<string, DeviceExtra>>,
  { silenceMs, hasIds = true }: { readonly silenceMs?: number; readonly hasIds?: boolean } = {},
) {
  const clock = new FakeClock()
  const silent = new Set<number>()
  /** Whether the bus cannot be opened. */
  const away = { isAway: false }
  const slowMs = new Map<number, number>()
  const asked: {
    readonly unit: number
    readonly address: number
    readonly at: number
    readonly timeoutMs: number
  }[] = []
  const events: FieldEvent[] = []
  const transport: ModbusTransport = {
    state: 'open',
    hasTransactionIds: hasIds,
    maxInFlight: hasIds ? 16 : 1,
    connect: async () => {
      if (away.isAway) throw new Error('refused')
    },
    call(unit, call, { timeoutMs, signal, gate }) {
      const cause = gate?.pass()
      if (cause !== undefined) return Promise.reject(new TransportError('held', { kind: 'not_sent' }, { cause }))
      asked.push({ unit, address: (call as { address: number }).address, at: clock.monotonic(), timeoutMs })
      const answer = { values: [unit], data: Buffer.alloc(0) }
      const takesMs = silent.has(unit) ? Number.POSITIVE_INFINITY : (slowMs.get(unit) ?? 0)
      if (takesMs === 0) return Promise.resolve(answer)
      return new Promise((resolve, reject) => {
        signal?.addEventListener('abort', () => reject(new TransportError('hung up', { kind: 'aborted' })))
        if (takesMs < timeoutMs) clock.after(takesMs, () => resolve(answer))
        else clock.after(silenceMs ?? timeoutMs, () => reject(new TransportError('no answer', { kind: 'timeout' })))
      })
    },
    discardInput: () => {},
    onLost: () => {},
    close: async () => {},
  }
  const field = new FieldService({
    ...FIELD_SETTINGS,
    clock,
    createTransport: () => transport,
    onEvent: (event) => events.push(event),
  })
  const devices = Object.entries(extras).map(([device_id, extra]) =>
    normalizeDevice({
      device_id,
      host: 'h',
      port: 502,
      slave_id: Number(/\d+$/.exec(device_id)![0]),
      framer: hasIds ? 'SOCKET' : 'RTU',
      max_retries: 0,
      ...extra,
    }),
  )
  field.apply(devices)
  /** Makes a request and moves the clock until it has ended. */
  const settled = async (request: FieldRequest) => {
    let end: { answer?: FieldResponse; error?: RouteMQError } | undefined
    field.request(request).then(
      (answer) => {
        end = { answer: answer as FieldResponse }
      },
      (error) => {
        end = { error }
      },
    )
    await clock.advance(0)
    while (end === undefined) await clock.advance(100)
    return end as { answer?: { values?: unknown }; error?: RouteMQError }
  }
  return { clock, silent, away, slowMs, asked, events, field, devices, settled }
}
