import { randomBytes } from 'node:crypto'
import { type FileHandle, open, readFile, rename, stat, unlink } from 'node:fs/promises'
import { join, resolve } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { startOf } from '../support/process-start.js'

/** Folders this process holds: a lock file with our own pid that is not here was left by an earlier process of that pid. */
const held = new Set<string>()

/** A takeover that did not finish within this is itself abandoned. */
const TAKEOVER_MS = 10_000

interface Owner {
  /** 0 while the file is still empty, and where it cannot be read. */
  readonly pid: number
  /** Start time of the process where the system tells it, so that a reused pid is not mistaken for the owner. */
  readonly started: string | undefined
  readonly ageMs: number
}

function isAlive(owner: Owner): boolean {
  // Our own entry in `held` is checked before: a file with our pid is from an earlier process of that pid (containers).
  if (owner.pid === process.pid) return false
  // Its maker is between creating and writing it, or died there.
  if (owner.pid === 0) return owner.ageMs < TAKEOVER_MS
  try {
    process.kill(owner.pid, 0)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ESRCH') return false
  }
  const started = startOf(owner.pid)
  return started !== 'gone' && (owner.started === undefined || started === undefined || started === owner.started)
}

async function readOwner(file: string): Promise<Owner | undefined> {
  try {
    const [pid, started] = (await readFile(file, 'utf8')).trim().split(' ')
    const ageMs = Date.now() - (await stat(file)).mtimeMs
    return { pid: Number(pid) || 0, started: started === '' ? undefined : started, ageMs }
  } catch (error) {
    // That of another user: whether its process lives cannot be told, so it does.
    if ((error as NodeJS.ErrnoException).code === 'EACCES') return { pid: 0, started: undefined, ageMs: 0 }
    ignoreMissing(error as NodeJS.ErrnoException)
    return undefined
  }
}

async function create(file: string): Promise<boolean> {
  let handle: FileHandle
  try {
    // Readable by others: who may not read it could not tell whether its process lives.
    handle = await open(file, 'wx', 0o644)
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false
    throw error
  }
  try {
    await handle.writeFile(`${process.pid} ${startOf(process.pid) ?? ''}\n`)
  } catch (error) {
    // On a full disk an empty lock would stand in everybody's way.
    await unlink(file).catch(ignoreMissing)
    throw error
  } finally {
    await handle.close()
  }
  return true
}

/**
 * Makes this process the one writer of `dir`; the returned function gives it back. A lock whose process is dead is taken
 * over. Rejects with SPOOL_LOCKED where another writer lives.
 */
export async function lockFolder(folder: string): Promise<() => Promise<void>> {
  const dir = resolve(folder)
  const file = join(dir, 'lock')
  const refuse = (pid: number) => {
    const who = pid === process.pid ? 'this process' : pid === 0 ? 'a process not known here' : `process ${pid}`
    return new RouteMQError('SPOOL_LOCKED', `The spool ${dir} is written by ${who}`, { details: { dir, pid } })
  }
  if (held.has(dir)) throw refuse(process.pid)
  held.add(dir)
  try {
    if (!(await create(file))) await takeOver(dir, file, refuse)
  } catch (error) {
    held.delete(dir)
    throw error
  }
  return async () => {
    if (!held.delete(dir)) return
    await unlink(file).catch(ignoreMissing)
  }
}

async function takeOver(dir: string, file: string, refuse: (pid: number) => RouteMQError): Promise<void> {
  const owner = await readOwner(file)
  if (owner !== undefined && isAlive(owner)) throw refuse(owner.pid)
  // Two processes may find the same dead lock at once: only who creates the marker may replace it.
  const marker = join(dir, 'lock.takeover')
  if (((await readOwner(marker))?.ageMs ?? 0) > TAKEOVER_MS) await unlink(marker).catch(ignoreMissing)
  if (!(await create(marker))) throw refuse((await readOwner(marker))?.pid ?? 0)
  try {
    const still = await readOwner(file)
    if (still !== undefined && isAlive(still)) throw refuse(still.pid)
    const fresh = join(dir, `lock.${process.pid}.${randomBytes(4).toString('hex')}`)
    await create(fresh)
    await rename(fresh, file)
  } finally {
    await unlink(marker).catch(ignoreMissing)
  }
}

function ignoreMissing(error: NodeJS.ErrnoException): void {
  if (error.code !== 'ENOENT') throw error
}
