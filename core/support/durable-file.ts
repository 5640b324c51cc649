import { closeSync, fsyncSync, mkdirSync, openSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'

/** Replaces a file as a whole: after a loss of power it holds the old text or the new one. Rejects where the disk refuses. */
export async function writeDurably(file: string, text: string): Promise<void> {
  const unfinished = `${file}.new`
  try {
    const handle = await open(unfinished, 'w', 0o600)
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
    await rename(unfinished, file)
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => {}) // What cannot be removed is written over the next time.
    throw error
  }
  // A new name is not safe before its folder is.
  const folder = await open(dirname(file), 'r')
  try {
    await folder.sync()
  } finally {
    await folder.close()
  }
}

/**
 * Replaces a file as a whole, at once: a reader sees the old text or the new one, and so does who comes after this process.
 * Only with `sync` that holds after a loss of power too. Nobody else may read it.
 *
 * @throws where the disk refuses; nothing is left beside the file then
 */
export function replaceFile(file: string, text: string, { sync = false }: { readonly sync?: boolean } = {}): void {
  const unfinished = `${file}.${process.pid}`
  try {
    mkdirSync(dirname(file), { recursive: true, mode: 0o700 })
    const handle = openSync(unfinished, 'w', 0o600)
    try {
      writeFileSync(handle, text)
      if (sync) fsyncSync(handle)
    } finally {
      closeSync(handle)
    }
    renameSync(unfinished, file)
  } catch (error) {
    try {
      rmSync(unfinished, { force: true })
    } catch {
      // What cannot be removed is written over the next time.
    }
    throw error
  }
}
