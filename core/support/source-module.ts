import { pathToFileURL } from 'node:url'

/** Source file -> the JavaScript it was compiled to. */
let compiled: ReadonlyMap<string, string> = new Map()

/** From now on {@link moduleUrl} of these sources names what they were compiled to. */
export function useCompiled(outputs: ReadonlyMap<string, string>): void {
  compiled = outputs
}

/** What to `import()` for a file of the application: the file itself, or its compiled form. */
export function moduleUrl(path: string): URL {
  return pathToFileURL(compiled.get(path) ?? path)
}
