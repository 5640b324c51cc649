import { describe } from 'node:test'
import { bench } from './benches.js'
import { transportContract } from './transport-contract.js'

// At once: most of it is waiting for what may be late.
describe('framed transports', { concurrency: true }, () => {
  transportContract('rtu_tcp', () => bench('rtu_tcp'))
  transportContract('ascii_tcp', () => bench('ascii_tcp'))
})
