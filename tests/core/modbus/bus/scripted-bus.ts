import { setTimeout as pause } from 'node:timers/promises'
import {
  type AnswerWait,
  Bus,
  type BusRequest,
  type BusSettings,
  type BusState,
} from '../../../../core/modbus/bus/bus.js'
import type { BusError } from '../../../../core/modbus/bus/bus-error.js'
import {
  type BusEndpoint,
  type CallOptions,
  type ModbusAnswer,
  type ModbusCall,
  type ModbusTransport,
  TransportError,
} from '../../../../core/modbus/transport/transport.js'
import { type Clock, systemClock } from '../../../../core/support/clock.js'

interface Call {
  readonly unit: number
  readonly call: ModbusCall
  readonly at: number
  readonly answer: (values?: number[]) => void
  readonly fail: (error: TransportError) => void
}

/** A line whose answers the test gives. */
export class ScriptedTransport implements ModbusTransport {
  readonly state = 'open'
  readonly maxInFlight = 16
  readonly calls: Call[] = []
  readonly hasTransactionIds: boolean
  connects = 0
  discards = 0
  closed = 0
  refuse: Error | undefined
  lose: (cause: Error) => void = () => {}

  constructor(hasTransactionIds: boolean) {
    this.hasTransactionIds = hasTransactionIds
  }

  async connect() {
    this.connects += 1
    if (this.refuse !== undefined) throw this.refuse
  }

  call(unit: number, call: ModbusCall, { gate }: CallOptions): Promise<ModbusAnswer> {
    const why = gate?.pass()
    if (why !== undefined) return Promise.reject(new TransportError(why.message, { kind: 'not_sent' }, { cause: why }))
    return new Promise((resolve, reject) => {
      const answer = (values: number[] = []) => resolve({ values, data: Buffer.alloc(0) })
      this.calls.push({ unit, call, at: performance.now(), answer, fail: reject })
    })
  }

  discardInput() {
    this.discards += 1
  }

  onLost(listener: (cause: Error) => void) {
    this.lose = listener
  }

  async close() {
    this.closed += 1
  }
}

/** A bus whose connections are all `line`, unless `createTransport` says otherwise. */
export function open(
  settings: Partial<BusSettings> = {},
  hasTransactionIds = true,
  createTransport?: () => ModbusTransport,
  endpoint: BusEndpoint = { kind: hasTransactionIds ? 'tcp' : 'rtu_tcp', host: 'h', port: 1 },
  clock: Clock = systemClock,
) {
  const line = new ScriptedTransport(hasTransactionIds)
  const states: BusState[] = []
  const bus = new Bus({
    id: 'b',
    endpoint,
    settings: {
      inFlight: 1,
      connections: 1,
      silenceMs: 0,
      unitSwitchMs: 0,
      lateGraceMs: 100,
      copyGraceMs: 20,
      localEcho: false,
      idleCloseMs: 0,
      connectTimeoutMs: 100,
      ...settings,
    },
    createTransport: createTransport ?? (() => line),
    clock,
    random: () => 0,
    claimConnect: () => 0,
    onState: (state) => states.push(state),
  })
  const submit = (
    unit: number,
    call: ModbusCall,
    { timeoutMs = 100, ...more }: Partial<BusRequest & AnswerWait> = {},
  ) => {
    const kind = more.kind ?? (call.fc === 6 ? 'write' : 'read')
    const sent = bus.submit({ device: `d${unit}`, unit, call, kind, wait: () => ({ timeoutMs }), limit: 3, ...more })
    sent.catch(() => {})
    return sent
  }
  return { bus, line, states, submit }
}

export const read = (address: number): ModbusCall => ({ fc: 3, address, count: 1 })
export const write = (address: number): ModbusCall => ({ fc: 6, address, value: 1 })
export const tick = () => pause(5)
export const kindOf = (sent: Promise<unknown>) =>
  sent.then(
    () => 'answered',
    (error: BusError) => error.failure.kind,
  )
