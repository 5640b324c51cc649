import { productSuite } from './support/product-suite.js'
import { EMBEDDED, MARIADB, POSTGRES } from './support/services.js'

// One file, one after the other: on the shared mosquitto two products would both answer `devices/office-eng/write`.
await productSuite(EMBEDDED)
await productSuite(POSTGRES)
await productSuite(MARIADB)
