import { productSuite } from './support/product-suite.js'
import { POSTGRES } from './support/services.js'

await productSuite(POSTGRES)
