/** The other process of the migration tests: `opener.ts CONFIG start|rollback [DIR]`. */
import { silentLogger } from '../../../core/observability/logger.js'
import { openStore } from './databases.js'

const [, , config, what, dir] = process.argv
let migrated = false
const logger = {
  ...silentLogger,
  info: (_: object, sentence?: string) => {
    if (sentence === 'The database was migrated') migrated = true
  },
}
const store = await openStore(JSON.parse(config!), { logger, ...(dir === undefined ? {} : { appMigrationsDir: dir }) })
if (what === 'start') process.send!({ state: store.state.name, migrated })
else process.send!([await store.rollback(), await store.rollback(), await store.rollback()])
await store.close()
process.disconnect?.()
