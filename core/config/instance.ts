import { createHash, randomBytes } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { hostname } from 'node:os'
import { join, resolve } from 'node:path'

const NAME = /^[A-Za-z0-9_.-]{1,64}$/
/** Ids that could not be kept: a later generation of the configuration goes on with the same. */
const lasting = new Map<string, string>()

/**
 * The id of this installation, kept in `<dataDir>/instance` so that sessions at the broker are found again. `keep` false:
 * none is written. Where the folder cannot be written, the id follows from the host's name and the folder, and `warn` says
 * so: a random one would be another after each start, and what waits at the broker for the last would wait for ever.
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
    return write(path, fresh)
  } catch (error) {
    const derived = createHash('sha256')
      .update(`${hostname()}\0${resolve(path)}`)
      .digest('hex')
      .slice(0, 8)
    lasting.set(path, derived)
    const { code } = error as NodeJS.ErrnoException
    warn(
      `The instance id could not be kept in ${path} (${code}): it is ${derived}, from the name of this host and the ` +
        'folder. Where that name changes with each start, as in a container, set ROUTEMQ_INSTANCE.',
    )
    return derived
  }
}

/** Keeps an id that could not be kept before. Call it when the folder can be written again: the next start goes on with it. */
export function keepInstanceId(dataDir: string): void {
  const path = join(dataDir, 'instance')
  const id = lasting.get(path)
  if (id !== undefined && read(path) === undefined) write(path, id)
}

/** Whole or not at all: a full disk must not leave an empty file, nor a second process of the same start find half an id. */
function write(path: string, fresh: string): string {
  const unfinished = `${path}.${process.pid}`
  try {
    writeFileSync(unfinished, `${fresh}\n`)
    try {
      linkSync(unfinished, path)
    } catch {
      // Another process of the same start may have been faster: then its id is the one.
      const theirs = read(path)
      if (theirs !== undefined) return theirs
      // What is there is no id; or it is not there, and the file system has no links.
      renameSync(unfinished, path)
    }
    return fresh
  } finally {
    rmSync(unfinished, { force: true })
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
