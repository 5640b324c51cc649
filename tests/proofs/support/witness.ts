import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** What handlers did, written by each into one file at once and read here: it survives the death of its writer. */
export class Witness {
  readonly file: string
  readonly #folder: string
  #offset = 0
  #rest = ''
  readonly #lines: string[] = []

  constructor() {
    this.#folder = mkdtempSync(join(tmpdir(), 'routemq-witness-'))
    this.file = join(this.#folder, 'handled.log')
  }

  /** All lines so far, in the order they were written. */
  lines(): readonly string[] {
    let bytes: Buffer
    try {
      bytes = readFileSync(this.file)
    } catch {
      return this.#lines
    }
    const text = this.#rest + bytes.subarray(this.#offset).toString()
    this.#offset = bytes.length
    const parts = text.split('\n')
    this.#rest = parts.pop()!
    this.#lines.push(...parts)
    return this.#lines
  }

  /** How often each line was written. */
  counts(): Map<string, number> {
    const counts = new Map<string, number>()
    for (const line of this.lines()) counts.set(line, (counts.get(line) ?? 0) + 1)
    return counts
  }

  remove(): void {
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

/** For the text of routers in a project: `saw(value)` appends a line to the witness's file. */
export const SAW = `
import { appendFileSync } from 'node:fs'
export const saw = (value: unknown) => appendFileSync(process.env.WITNESS!, value + '\\n')
export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
`
