import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { moduleUrl } from '../support/source-module.js'
import type { Step } from './migrator.js'

/** Loads an application's migrations: files that export `up(db)` and, for rolling back, `down(db)`. */
export async function loadAppMigrations(dir: string | undefined): Promise<readonly Step[]> {
  if (dir === undefined) return []
  let names: string[]
  try {
    names = await readdir(dir)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return []
    throw error
  }
  const files = names.filter((name) => /\.(ts|js|mts|mjs)$/.test(name) && !/\.d\.m?ts$/.test(name)).sort()
  return Promise.all(files.map((name) => loadStep(join(dir, name), name.replace(/\.\w+$/, ''))))
}

async function loadStep(file: string, name: string): Promise<Step> {
  let module: Partial<Step> & { default?: Partial<Step> }
  try {
    module = (await import(moduleUrl(file).href)) as typeof module
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new RouteMQError('DATABASE_SCHEMA', `Migration ${file} does not load: ${why}`, { cause: error })
  }
  const up = module.up ?? module.default?.up
  const down = module.down ?? module.default?.down
  if (typeof up !== 'function') {
    throw new RouteMQError('DATABASE_SCHEMA', `Migration ${file} exports no function \`up(db)\``)
  }
  return {
    name,
    file,
    up: async (db, types) => up(db, types),
    down: async (db, types) => {
      if (typeof down !== 'function') {
        throw new RouteMQError('DATABASE_SCHEMA', `Migration ${file} exports no \`down(db)\`: it cannot be taken back`)
      }
      await down(db, types)
    },
  }
}
