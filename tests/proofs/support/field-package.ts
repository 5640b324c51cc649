import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, symlinkSync, unlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { REPOSITORY } from '../../e2e/support/project.js'

/**
 * The framework compiled into a folder of its own, as npm installs it: what processor time and memory are measured with.
 * Run from its source it carries a compiler and the names of every inner function.
 */
export class BuiltPackage {
  readonly #root: string

  private constructor(root: string) {
    this.#root = root
  }

  static make(): BuiltPackage {
    const root = mkdtempSync(join(tmpdir(), 'routemq-package-'))
    const compiler = join(REPOSITORY, 'node_modules/typescript/bin/tsc')
    execFileSync(process.execPath, [compiler, '-p', 'tsconfig.build.json', '--outDir', join(root, 'dist/core')], {
      cwd: REPOSITORY,
      stdio: 'inherit',
    })
    const manifest = readFileSync(join(REPOSITORY, 'package.json'), 'utf8').replaceAll('routemq:source', 'unused')
    writeFileSync(join(root, 'package.json'), manifest)
    symlinkSync(join(REPOSITORY, 'node_modules'), join(root, 'node_modules'))
    return new BuiltPackage(root)
  }

  remove(): void {
    rmSync(this.#root, { recursive: true, force: true })
  }

  get cli(): string {
    return join(this.#root, 'dist/core/cli/main.js')
  }

  /** Makes this the `routemq` of a project. */
  installInto(project: string): void {
    unlinkSync(join(project, 'node_modules/routemq'))
    symlinkSync(this.#root, join(project, 'node_modules/routemq'))
  }
}
