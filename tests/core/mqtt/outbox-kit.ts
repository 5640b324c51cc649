import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { Outbox } from '../../../core/mqtt/outbox.js'
import type { Publication } from '../../../core/mqtt/publish-window.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Spool } from '../../../core/spool/spool.js'
import { unique } from './kit.js'

export const folder = await mkdtemp(join(tmpdir(), 'routemq-outbox-'))
after(() => rm(folder, { recursive: true, force: true }))

/** An outbox over a spool of its own. */
export async function openOutbox(dir = join(folder, unique('spool')), maxBytes = 1_048_576) {
  const spool = await Spool.open({ dir, maxBytes })
  const outbox = new Outbox({ spool, logger: silentLogger })
  return {
    dir,
    spool,
    outbox,
    async close() {
      await outbox.stop()
      await spool.close()
    },
  }
}

export const publication = (topic: string, payload: string, options: Publication['options'] = {}): Publication => ({
  topic,
  payload,
  options,
})
