import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, extname, join } from 'node:path'
import { COMPILED_FOLDERS } from '../config/compile-app.js'
import { registerLoader } from '../config/typescript-loader.js'
import { type DeviceProfile, readProfile } from '../modbus/profile.js'
import { commitRouters } from '../router/commit.js'
import { loadMiddleware, loadRouters } from '../router/discovery.js'
import type { Dispatcher, Route } from '../router/route.js'
import { RouteMQError } from '../support/errors.js'
import { moduleUrl } from '../support/source-module.js'
import { type App, createApp, type PlantDefinition } from './create-app.js'
import { checkPlant } from './plant-definition.js'

const EXTENSIONS = ['.ts', '.mts', '.js', '.mjs']

/** The application in a folder: what its `bootstrap/app` exports, or the defaults where there is none. */
export async function loadApp(root: string): Promise<App> {
  const file = findModule(join(root, 'bootstrap/app'))
  if (file === undefined) return createApp({ root })
  const app = await importApp(file)
  if (isCompiled(app, root)) return app
  // Nothing of it may be there twice, compiled and not: all of it comes from the loader, this file again.
  await registerLoader()
  return importApp(file)
}

async function importApp(file: string): Promise<App> {
  const exported = await importDefault(file)
  if (isApp(exported)) return exported
  throw new RouteMQError('CONFIG_INVALID', `${file} must export what createApp() returns as its default`)
}

/** Whether all that is imported by path lies in folders that were compiled, where anything was. */
function isCompiled({ root, folders, devices }: App, compiledRoot: string): boolean {
  const paths = [...Object.values(folders), devices]
  return root === compiledRoot && paths.every((path) => COMPILED_FOLDERS.includes(path.split(/[\\/]/)[0] ?? ''))
}

/** Loads routers and middleware and commits them; every mistake ends the start with the file named. */
export async function loadDispatcher(
  app: App,
  services: object,
  around?: (route: Route) => Route['run'],
): Promise<Dispatcher> {
  const [routers, middleware] = await Promise.all([
    loadRouters(join(app.root, app.folders.routers)),
    loadMiddleware(join(app.root, app.folders.middleware)),
  ])
  return commitRouters(routers, { middleware, services, around })
}

/** The devices that the application ships; none where it has no such file. */
export async function loadPlant(app: App): Promise<PlantDefinition> {
  const file = findModule(join(app.root, app.devices))
  if (file === undefined) return { devices: [], targets: [] }
  const exported = await importDefault(file)
  if (!isPlant(exported)) {
    throw new RouteMQError('CONFIG_INVALID', `${file} must export what defineDevices() returns as its default`)
  }
  const isProfiled = exported.devices.some((device) => device?.profile !== undefined)
  return checkPlant(file, exported, isProfiled ? await loadProfiles(app) : new Map())
}

/** The device profiles of an application: `app/profiles/*.yaml` and `*.json`, by file name. */
export async function loadProfiles(app: App): Promise<ReadonlyMap<string, DeviceProfile>> {
  const folder = join(app.root, dirname(app.devices), 'profiles')
  const profiles = new Map<string, DeviceProfile>()
  if (!existsSync(folder)) return profiles
  const { parse } = await import('yaml')
  for (const file of readdirSync(folder).sort()) {
    if (!/\.(ya?ml|json)$/.test(file)) continue
    const path = join(folder, file)
    let content: unknown
    try {
      // JSON is YAML too.
      content = parse(readFileSync(path, 'utf8'))
    } catch (cause) {
      throw new RouteMQError('DEVICE_INVALID', `${path} cannot be read: ${(cause as Error).message}`, { cause })
    }
    const name = file.slice(0, -extname(file).length)
    if (profiles.has(name)) {
      throw new RouteMQError('DEVICE_INVALID', `${path}: another file in ${folder} describes the profile ${name} too`)
    }
    profiles.set(name, readProfile(content, path))
  }
  return profiles
}

function findModule(withoutExtension: string): string | undefined {
  return EXTENSIONS.map((extension) => withoutExtension + extension).find((file) => existsSync(file))
}

async function importDefault(file: string): Promise<unknown> {
  try {
    const module: { default?: unknown } = await import(moduleUrl(file).href)
    return module.default
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause)
    throw new RouteMQError('CONFIG_INVALID', `${file} could not be loaded: ${reason}`, { cause })
  }
}

function isApp(value: unknown): value is App {
  return typeof value === 'object' && value !== null && 'root' in value && 'folders' in value
}

function isPlant(value: unknown): value is PlantDefinition {
  return typeof value === 'object' && value !== null && 'devices' in value && Array.isArray(value.devices)
}
