import { existsSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

/** Folder of the installed package: the first above this file that has both a package.json and `stubs/`. */
export function packageFolder(): string {
  let folder = dirname(fileURLToPath(import.meta.url))
  while (!(existsSync(join(folder, 'package.json')) && existsSync(join(folder, 'stubs')))) {
    const above = dirname(folder)
    if (above === folder)
      throw new Error(`no package.json with stubs/ above ${import.meta.url}: the package is incomplete`)
    folder = above
  }
  return folder
}

export function packageFile(...path: readonly string[]): string {
  return join(packageFolder(), ...path)
}
