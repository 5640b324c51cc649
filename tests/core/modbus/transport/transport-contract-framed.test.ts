import { bench } from './benches.js'
import { transportContract } from './transport-contract.js'

transportContract('rtu_tcp', () => bench('rtu_tcp'))
transportContract('ascii_tcp', () => bench('ascii_tcp'))
