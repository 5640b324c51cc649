import { productSuite } from '../e2e/support/product-suite.js'
import { MARIADB } from '../e2e/support/services.js'

// Not beside the same on PostgreSQL: on the shared mosquitto two products would both answer `devices/office-eng/write`.
await productSuite(MARIADB)
