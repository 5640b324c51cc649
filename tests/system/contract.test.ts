import { contractSuite } from '../e2e/support/contract-suite.js'
import { DATABASES } from '../e2e/support/databases.js'

for (const kind of DATABASES) await contractSuite(kind)
