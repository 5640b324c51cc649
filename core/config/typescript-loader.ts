import { useCompiled } from '../support/source-module.js'
import { compileApp } from './compile-app.js'

let prepared: Promise<unknown> | undefined
let registering: Promise<void> | undefined

/**
 * Makes an application's TypeScript files importable in this process, once, by `moduleUrl()`: compiled where that is
 * possible, else by tsx. Where tsx is there already (`--import tsx`: from source, under `routemq test`) it loads them all,
 * so that a test and the application it starts share their modules.
 */
export function prepareTypeScript(root: string): Promise<unknown> {
  prepared ??= isLoaderThere()
    ? Promise.resolve()
    : compileApp(root).then((outputs) => {
        if (outputs === undefined) return registerLoader()
        process.setSourceMapsEnabled(true)
        return useCompiled(outputs)
      })
  return prepared
}

/** Loads everything by tsx from here on. Modules that were imported in compiled form are others than those it loads. */
export function registerLoader(): Promise<void> {
  useCompiled(new Map())
  registering ??= isLoaderThere()
    ? Promise.resolve()
    : import('tsx/esm/api').then(({ register }) => {
        register()
      })
  return registering
}

/**
 * Loads modules of the framework without their source maps: maps of all of it are 3 MB and a tenth of a start, and its own
 * traces are read in what it was compiled to.
 */
export async function withoutSourceMaps<T>(load: () => Promise<T>): Promise<T> {
  const { sourceMapsEnabled } = process as { sourceMapsEnabled?: boolean }
  if (sourceMapsEnabled !== true) return load()
  process.setSourceMapsEnabled(false)
  try {
    return await load()
  } finally {
    process.setSourceMapsEnabled(true)
  }
}

function isLoaderThere(): boolean {
  return process.execArgv.some((argument) => /\btsx\b/.test(argument))
}
