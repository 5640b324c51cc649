/**
 * A gateway's ingest, to be killed: `ingest-child.ts CONFIG SPOOL BOOT`. 5,000 rows a second: every 100 ms one sample of
 * 5 points from each of 100 devices. Tells after each round which one it was, and when.
 */
import { Ingest } from '../../core/database/ingest.js'
import { silentLogger } from '../../core/observability/logger.js'
import { Spool } from '../../core/spool/spool.js'
import { openStore } from '../core/database/databases.js'
import { sample } from '../core/database/samples.js'

const [, , config, dir, boot] = process.argv
const store = await openStore(JSON.parse(config!), {
  checkMs: { there: 500, away: 200 },
  connectMs: 500,
  statementMs: 3_000,
})
const spool = await Spool.open({ dir: dir!, maxBytes: 1024 ** 3 })
const ingest = new Ingest({ store, spool, logger: silentLogger, instance: 'outage', boot: boot! })
let slot = 0
let ending = false
process.on('message', () => {
  ending = true
})
const started = Date.now()
while (!ending) {
  const at = Date.now() / 1e3
  await ingest.accept(Array.from({ length: 100 }, (_, index) => sample(`d${index}`, slot, 5, at)))
  process.send!({ slot, at: Date.now(), rss: process.memoryUsage().rss, stats: ingest.stats(), state: store.state })
  slot += 1
  await new Promise((resolve) => setTimeout(resolve, Math.max(0, started + slot * 100 - Date.now())))
}
await ingest.flush()
while (spool.count > 0) await new Promise((resolve) => setTimeout(resolve, 50))
process.send!({ ended: true, slot: slot - 1, at: Date.now(), rss: process.memoryUsage().rss, stats: ingest.stats() })
await ingest.stop()
await spool.close()
await store.close()
process.disconnect()
