import { execFile } from 'node:child_process'
import { mkdir, writeFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const here = dirname(fileURLToPath(import.meta.url))
/** In here nothing else looks at it: git, Biome and knip leave such folders out. */
const outDir = join(here, 'node_modules', '.compiled')
let compiling: Promise<void> | undefined

/**
 * The path of a source of this folder as the compiler of the product emits it. From source, tsx names each function anew
 * every time it is made, which is not what installations run.
 */
export async function compiled(file: string): Promise<string> {
  compiling ??= compile()
  await compiling
  return join(outDir, 'benchmarks', file.replace(/\.ts$/, '.js'))
}

async function compile(): Promise<void> {
  await mkdir(outDir, { recursive: true })
  await writeFile(join(outDir, 'package.json'), '{ "type": "module" }\n')
  const tsc = join(dirname(createRequire(import.meta.url).resolve('typescript/package.json')), 'bin', 'tsc')
  const options = ['--noCheck', '--noEmit', 'false', '--rootDir', '..', '--outDir', outDir]
  await promisify(execFile)(process.execPath, [tsc, '-p', here, ...options], { cwd: here })
}
