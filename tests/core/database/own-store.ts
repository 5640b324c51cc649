import { after } from 'node:test'
import type { OpenOptions } from '../../../core/database/open.js'
import { type Kind, openStore, ownDatabase } from './databases.js'

const opened: (() => Promise<void>)[] = []
after(async () => {
  for (const close of opened) await close()
})

/** A store over an empty database of its own; both are gone at the end of the file. */
export async function ownStore(kind: Kind, options: Partial<OpenOptions> = {}) {
  const { config, drop } = await ownDatabase(kind)
  const store = await openStore(config, options)
  opened.push(() => store.close(), drop)
  return { store, config }
}
