import { describe } from 'node:test'
import { serialUnavailable } from '../serial-line.js'
import { serialBench } from './benches.js'
import { transportContract } from './transport-contract.js'

const traits = { unavailable: await serialUnavailable(), cannotReset: 'a serial line has no connection' }

// At once: most of it is waiting for what may be late.
describe('serial transports', { concurrency: true }, () => {
  transportContract('serial_rtu', () => serialBench('serial_rtu'), traits)
  transportContract('serial_ascii', () => serialBench('serial_ascii'), traits)
})
