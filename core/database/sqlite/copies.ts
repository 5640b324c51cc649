import { readdir, rm, stat } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'

/** Copies that are kept of a file from before its migrations. */
const COPIES = 3

/** Keeps the newest copies of a file, the one just made always; those that a restore made are its user's. */
export async function pruneCopies(file: string, made: string): Promise<void> {
  const dir = dirname(file)
  const prefix = `${basename(file)}.before-`
  const names = (await readdir(dir)).filter(
    (name) =>
      name.startsWith(prefix) &&
      !name.startsWith(`${prefix}restore-`) &&
      !name.endsWith('.tmp') &&
      name !== basename(made),
  )
  const aged = await Promise.all(names.map(async (name) => ({ name, at: (await stat(join(dir, name))).mtimeMs })))
  aged.sort((one, other) => other.at - one.at)
  for (const { name } of aged.slice(COPIES - 1)) await rm(join(dir, name), { force: true })
}
