import { bench, tlsBench } from './benches.js'
import { transportContract } from './transport-contract.js'

transportContract('tcp', () => bench('tcp'))
transportContract('tls', tlsBench)
transportContract('udp', () => bench('udp'), { datagrams: true, cannotReset: 'UDP has no connection' })
