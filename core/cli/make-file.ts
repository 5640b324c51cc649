import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { RouteMQError } from '../support/errors.js'
import { packageFile } from './package-files.js'

/** The forms of one name that templates use: `boilerRoom` is boiler-room, BoilerRoom, boilerRoom, boiler_room. */
export interface NameForms {
  readonly kebab: string
  readonly pascal: string
  readonly camel: string
  readonly snake: string
}

/** @throws USAGE where the name is none for a file. */
export function nameForms(name: string): NameForms {
  const words = name
    .replace(/([a-z0-9])([A-Z])/g, '$1 $2')
    .split(/[^A-Za-z0-9]+/)
    .filter((word) => word !== '')
    .map((word) => word.toLowerCase())
  // A path would silently become another name in the folder of its kind.
  if (!/^[A-Za-z][\w -]*$/.test(name)) {
    throw new RouteMQError(
      'USAGE',
      `"${name}" is no name for a file: start with a letter, then letters, digits, dashes; no path`,
    )
  }
  const pascal = words.map((word) => word[0]!.toUpperCase() + word.slice(1)).join('')
  return { kebab: words.join('-'), pascal, camel: pascal[0]!.toLowerCase() + pascal.slice(1), snake: words.join('_') }
}

/**
 * Writes a file from a template of `stubs/`, replacing `{{kebab}}`, `{{pascal}}`, `{{camel}}` and `{{snake}}`.
 *
 * @throws SCAFFOLD_CONFLICT where the file is there already: nothing is ever overwritten.
 */
export function makeFile(root: string, path: string, stub: string, forms: NameForms): void {
  const template = readFileSync(packageFile('stubs', stub), 'utf8')
  const text = template.replace(/\{\{(kebab|pascal|camel|snake)\}\}/g, (_, form: keyof NameForms) => forms[form])
  const file = join(root, path)
  try {
    mkdirSync(dirname(file), { recursive: true })
    writeFileSync(file, text, { flag: 'wx' })
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException
    if (code === 'EEXIST') throw new RouteMQError('SCAFFOLD_CONFLICT', `${path} is there already`, { cause })
    throw cause
  }
}
