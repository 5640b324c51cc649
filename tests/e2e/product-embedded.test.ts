import { productSuite } from './support/product-suite.js'
import { EMBEDDED } from './support/services.js'

await productSuite(EMBEDDED)
