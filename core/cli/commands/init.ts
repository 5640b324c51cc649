import { existsSync, mkdirSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import type { Registry } from '../program.js'
import { planManifest } from '../project-manifest.js'
import { copyApplication } from '../scaffold.js'

/** `routemq --init [folder]`: a new project with the default application, or what is missing of one. */
export function registerInit({ program, action }: Registry): void {
  program
    .command('init')
    .description('make a project with the default application here (the same as --init); overwrites nothing')
    .argument('[folder]', 'where; it is made when missing', '.')
    .action((folder: string) =>
      action(async ({ root, out }, json) => {
        const target = resolve(root, folder)
        mkdirSync(target, { recursive: true })
        const plan = planManifest(target)
        // Both are planned before either writes, so that a conflict leaves the folder as it was.
        const files = [...copyApplication(target), plan.write()]
        if (json) {
          out(JSON.stringify({ folder: target, files }, null, 2))
          return 0
        }
        for (const { path, action: done, note } of files) out(`${done.padEnd(7)}  ${path}${note ? `  (${note})` : ''}`)
        const steps = nextSteps(root, target)
        out(`\nNext:\n${steps.map((step) => `  ${step}`).join('\n')}`)
        return 0
      }),
    )
}

function nextSteps(root: string, target: string): string[] {
  const steps = target === root ? [] : [`cd ${relative(root, target)}`]
  const installed = ['routemq', 'zod', 'typescript'].every((name) => existsSync(join(target, 'node_modules', name)))
  if (!installed) steps.push('npm install')
  return [...steps, 'npm start']
}
