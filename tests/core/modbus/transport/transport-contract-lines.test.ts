import { describe } from 'node:test'
import { serialUnavailable } from '../serial-line.js'
import { bench, serialBench } from './benches.js'
import { transportContract } from './transport-contract.js'

const serial = { unavailable: await serialUnavailable(), cannotReset: 'a serial line has no connection' }

// At once: most of it is waiting for what may be late.
describe('transports whose frames carry no id', { concurrency: true }, () => {
  transportContract('rtu_tcp', () => bench('rtu_tcp'))
  transportContract('ascii_tcp', () => bench('ascii_tcp'))
  transportContract('serial_rtu', () => serialBench('serial_rtu'), serial)
  transportContract('serial_ascii', () => serialBench('serial_ascii'), serial)
})
