import { contractSuite } from './support/contract-suite.js'
import { DATABASES } from './support/databases.js'

for (const kind of DATABASES) await contractSuite(kind)
