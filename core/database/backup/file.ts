import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { access, open, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { createInterface } from 'node:readline'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createGzip } from 'node:zlib'
import { RouteMQError } from '../../support/errors.js'
import type { BackupHeader, BackupLine } from './lines.js'

interface Trailer {
  readonly end: { readonly lines: number; readonly sha256: string }
}

/**
 * Writes lines of JSON, compressed, and at the end their number and checksum. The file appears under its name when it is
 * whole and on the disk.
 */
export async function writeBackup(file: string, lines: AsyncIterable<BackupLine>, force: boolean): Promise<void> {
  if (!force && (await exists(file))) {
    throw new RouteMQError('USAGE', `${file} is there already; give another name, or --force to replace it`)
  }
  const unfinished = `${file}.${process.pid}.tmp`
  try {
    // Of its owner alone: hashes of keys, topics and payloads are in it.
    await pipeline(
      Readable.from(withTrailer(lines)),
      createGzip({ level: 5 }),
      createWriteStream(unfinished, { mode: 0o600 }),
    )
    await sync(unfinished)
    await rename(unfinished, file)
    await sync(dirname(file))
  } catch (error) {
    await rm(unfinished, { force: true }).catch(() => {}) // Its folder is none, or takes no change.
    throw wrongPath(file, 'written', error)
  }
}

/** Reads a file to its end and compares its checksum. @throws BACKUP_INVALID, USAGE where it cannot be read */
export async function checkBackup(file: string): Promise<BackupHeader> {
  let header: BackupHeader | undefined
  for await (const text of verified(file)) header ??= headerOf(file, text)
  if (header === undefined) throw invalid(file, 'it ends too early')
  return header
}

/**
 * The lines behind the header. Compared again: between the check and now the file may have become another one, so take
 * nothing for done before the last line was given. @throws BACKUP_INVALID
 */
export async function* readBackup(file: string): AsyncGenerator<BackupLine> {
  let isHeader = true
  for await (const text of verified(file)) {
    if (!isHeader) yield parse(file, text) as BackupLine
    isHeader = false
  }
}

/** The lines before the end; rejects instead of ending where its number and checksum are not theirs. */
async function* verified(file: string): AsyncGenerator<string> {
  const hash = createHash('sha256')
  let lines = 0
  let last: string | undefined
  for await (const line of linesOf(file)) {
    if (last !== undefined) {
      hash.update(`${last}\n`)
      lines += 1
      yield last
    }
    last = line
  }
  const end = last === undefined ? undefined : (parse(file, last) as Partial<Trailer>).end
  if (end === undefined) throw invalid(file, 'it ends too early')
  if (end.lines !== lines || end.sha256 !== hash.digest('hex')) throw invalid(file, 'its checksum differs')
}

async function* withTrailer(lines: AsyncIterable<BackupLine>): AsyncGenerator<string> {
  const hash = createHash('sha256')
  let count = 0
  for await (const line of lines) {
    const text = `${JSON.stringify(line)}\n`
    hash.update(text)
    count += 1
    yield text
  }
  yield `${JSON.stringify({ end: { lines: count, sha256: hash.digest('hex') } } satisfies Trailer)}\n`
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const source = createReadStream(file)
  const text = createGunzip()
  source.on('error', (error) => text.destroy(error))
  source.pipe(text)
  try {
    yield* createInterface({ input: text, crlfDelay: Number.POSITIVE_INFINITY })
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException
    if (code !== undefined && !code.startsWith('Z_')) throw wrongPath(file, 'read', error)
    throw invalid(file, 'it is not a backup, or it is cut off or damaged')
  } finally {
    source.destroy()
  }
}

function headerOf(file: string, line: string): BackupHeader {
  const header = parse(file, line) as Partial<BackupHeader>
  if (header.routemq_backup === undefined) throw invalid(file, 'it is not a backup of this product')
  if (header.routemq_backup !== 1) throw invalid(file, `its format is ${header.routemq_backup}, of a newer version`)
  return header as BackupHeader
}

function parse(file: string, line: string): unknown {
  try {
    return JSON.parse(line)
  } catch {
    throw invalid(file, 'it is damaged')
  }
}

function invalid(file: string, why: string): RouteMQError {
  return new RouteMQError('BACKUP_INVALID', `${file} cannot be restored: ${why}`, { details: { file } })
}

/** What the system says of a path that somebody named; anything else is left as it is. */
const OF_THE_PATH = new Set([
  'ENOENT',
  'ENOTDIR',
  'EISDIR',
  'EACCES',
  'EPERM',
  'EROFS',
  'ENOSPC',
  'EDQUOT',
  'ELOOP',
  'ENAMETOOLONG',
])

function wrongPath(file: string, what: 'read' | 'written', cause: unknown): unknown {
  if (!OF_THE_PATH.has(String((cause as NodeJS.ErrnoException).code))) return cause
  return new RouteMQError('USAGE', `${file} cannot be ${what}: ${(cause as Error).message}`, { cause })
}

const exists = (file: string) =>
  access(file).then(
    () => true,
    () => false,
  )

async function sync(path: string): Promise<void> {
  const handle = await open(path, 'r')
  await handle.sync().finally(() => handle.close())
}
