import { randomBytes } from 'node:crypto'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

const NAME = /^[A-Za-z0-9_.-]{1,64}$/
/** Ids that could not be kept: a later generation of the configuration goes on with the same. */
const lasting = new Map<string, string>()

/**
 * The random id of this installation, kept in `<dataDir>/instance` so that sessions at the broker are found again.
 * `keep` false: none is written. Where the folder cannot be written, the id lasts as long as the process and `warn` says so.
 */
export function instanceId(dataDir: string, keep: boolean, warn: (sentence: string) => void): string {
  const path = join(dataDir, 'instance')
  const kept = read(path)
  if (kept !== undefined) return kept
  const known = lasting.get(path)
  if (known !== undefined) return known
  const fresh = randomBytes(4).toString('hex')
  if (!keep) return fresh
  try {
    // Keys of devices, payloads and hashes lie in it: nobody else on this machine reads there.
    mkdirSync(dataDir, { recursive: true, mode: 0o700 })
    writeFileSync(path, `${fresh}\n`, { flag: 'wx' })
    return fresh
  } catch (error) {
    // Another process of the same start may have been faster: then its id is the one.
    const code = (error as NodeJS.ErrnoException).code
    const theirs = code === 'EEXIST' ? read(path) : undefined
    if (theirs !== undefined) return theirs
    lasting.set(path, fresh)
    warn(`The instance id could not be kept in ${path} (${code}); sessions at the broker are lost with this process.`)
    return fresh
  }
}

function read(path: string): string | undefined {
  try {
    const name = readFileSync(path, 'utf8').trim()
    return NAME.test(name) ? name : undefined
  } catch {
    return undefined // Absent or unreadable: the caller makes one and reports where it cannot be kept.
  }
}
