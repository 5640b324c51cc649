import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { RouteMQError } from '../../support/errors.js'
import { makeFile, nameForms } from '../make-file.js'
import type { Registry } from '../program.js'

const KINDS = [
  {
    kind: 'router',
    stub: 'router.ts.stub',
    about: 'make a router file; it is found by itself',
    path: (name: string) => `routers/${name}.ts`,
    suffix: /[-_ ]?router$/i,
    next: 'It is loaded at the next start; see `routemq route:list`.',
  },
  {
    kind: 'controller',
    stub: 'controller.ts.stub',
    about: 'make a controller class',
    path: (name: string) => `controllers/${name}-controller.ts`,
    suffix: /[-_ ]?controller$/i,
    next: 'Name it in a router file: `router.on(topic, [Controller, method])`.',
  },
  {
    kind: 'middleware',
    stub: 'middleware.ts.stub',
    about: 'make a middleware; routes name it by its file name',
    path: (name: string) => `middleware/${name}.ts`,
    suffix: /[-_ ]?middleware$/i,
    next: 'Name it in a group or route: `middleware: [name]`.',
  },
  {
    kind: 'migration',
    stub: 'migration.ts.stub',
    about: "make a migration of the application's own tables",
    path: (name: string) => `migrations/${timestamp()}-${name}.ts`,
    suffix: /[-_ ]?migration$/i,
    next: 'It runs at the next start, or with `routemq migrate`.',
  },
] as const

/** Migrations run in the order of their names. `20260131120000`, UTC. */
function timestamp(): string {
  return new Date().toISOString().replace(/\D/g, '').slice(0, 14)
}

/** Both would make the same table. */
function refuseSecond(root: string, name: string): void {
  const folder = join(root, 'migrations')
  const names = existsSync(folder) ? readdirSync(folder) : []
  const first = names.find((file) => file.replace(/\.\w+$/, '').replace(/^\d+-/, '') === name)
  if (first === undefined) return
  throw new RouteMQError('SCAFFOLD_CONFLICT', `migrations/${first} is there already; name this one for what it changes`)
}

/** `routemq make:router|controller|middleware|migration NAME` */
export function registerMake({ program, action }: Registry): void {
  for (const { kind, stub, about, path, suffix, next } of KINDS) {
    program
      .command(`make:${kind}`)
      .description(about)
      .argument('<name>', 'such as boiler-room')
      .action((name: string) =>
        action(async ({ root, out }, json) => {
          const forms = nameForms(name.replace(suffix, '') || name)
          const file = path(forms.kebab)
          if (kind === 'migration') refuseSecond(root, forms.kebab)
          makeFile(root, file, stub, forms)
          out(json ? JSON.stringify({ created: file }) : `created ${file}\n${next}`)
          return 0
        }),
      )
  }
}
