import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after } from 'node:test'
import { sql } from 'kysely'
import { dump } from '../../../../core/database/backup/dump.js'
import { readBackup, writeBackup } from '../../../../core/database/backup/file.js'
import type { BackupLine } from '../../../../core/database/backup/lines.js'
import type { ReadingWrite } from '../../../../core/database/readings/reading.js'
import type { Store } from '../../../../core/database/store.js'
import { ownStore } from '../own-store.js'

export const AT = Date.UTC(2026, 4, 1)
export const source = { instance: 'plant', boot: 'one' }
export const letter = {
  route: 'r',
  topic: 't/ä',
  payload: 'AAE=',
  qos: 1,
  retain: false,
  properties: { contentType: 'x' },
  receivedAt: 5,
  deadline: undefined,
} as const

export function reading(sequence: number, more: Partial<ReadingWrite>): ReadingWrite {
  const time_us = AT * 1e3 + sequence
  return {
    source,
    sequence,
    device_id: 'd',
    point: 'p',
    unit: 'V',
    time_us,
    value: 1,
    quality: 'good',
    reason: null,
    ...more,
  }
}

/** One of everything that has a form of its own. */
export async function fill(store: Store): Promise<void> {
  await store.devices.insert({
    device_id: 'd',
    host: 'h',
    port: 502,
    write_enabled: false,
    options: { note: "o'clock\n" },
  })
  await store.devices.insert({ device_id: 'serial', path: '/dev/tty', baud_rate: 9600, timeout: 0.25 })
  await store.targets.insert({ device_id: 'd', register_type: 'holding', address: 1, count: 2 })
  const gone = await store.targets.insert({ device_id: 'd', register_type: 'coil', address: 1, count: 1 })
  await store.targets.insert({ device_id: 'd', register_type: 'input', address: 9, count: 1, description: 'Fluß' })
  await sql`delete from routemq_targets where id = ${gone.id}`.execute(store.kysely)
  const values = [1.5, -0.1, true, false, null, 'text \t "x"', '9007199254740993', [1, 2, 65_535], 1e300]
  await store.readings.insertBatch(
    values.map((value, n) =>
      reading(n + 1, { value, point: `p${n}`, quality: n % 2 === 0 ? 'good' : 'bad', reason: 'why' }),
    ),
  )
  // More than a page of one series, with several of one time.
  const many = Array.from({ length: 7_000 }, (_, n) => reading(n + 100, { time_us: AT * 1e3 + Math.floor(n / 3_000) }))
  for (let at = 0; at < many.length; at += 3_500) await store.readings.insertBatch(many.slice(at, at + 3_500))
  await store.events.append([
    { kind: 'a', message: 'first', at: AT },
    { kind: 'b', message: 'second', at: AT, details: { x: 1 } },
  ])
  await store.audit.append([{ id: 'e1', at: AT, actor: { kind: 'app', name: 'x' }, action: 'write', outcome: 'ok' }])
  await store.deadLetters.put(
    { ...letter, error: { code: 'INTERNAL', message: 'x' }, attempts: 3, failedAt: AT },
    'letter-1',
  )
  await store.parked.put({ ...letter, key: 'k', attempt: 2 }, 'parked-1')
  await store.idempotency.claim('key', 'hash', source)
  await store.idempotency.complete('key', { ok: true, value: { done: 1 } })
}

export async function linesOf(lines: AsyncIterable<BackupLine>): Promise<BackupLine[]> {
  const out: BackupLine[] = []
  for await (const line of lines) out.push(line)
  return out
}

export async function* these(lines: readonly BackupLine[]): AsyncGenerator<BackupLine> {
  yield* lines
}

/** What a backup says, apart from its header, the numbers of sources and the parked messages. */
export function facts(lines: readonly BackupLine[]): string[] {
  return lines
    .filter(
      (line) =>
        !('routemq_backup' in line || 'sources' in line || ('table' in line && line.table === 'routemq_parked')),
    )
    .map((line) => ('readings' in line ? { ...line, readings: line.readings.map((row) => row.toSpliced(1, 1)) } : line))
    .map((line) => JSON.stringify(line))
    .sort()
}

/** A backup of an SQLite database that holds one of everything, until the end of the file. */
export async function originalBackup() {
  const dir = await mkdtemp(join(tmpdir(), 'routemq-backup-'))
  after(() => rm(dir, { recursive: true, force: true }))
  const { store } = await ownStore('sqlite')
  await fill(store)
  const file = join(dir, 'plant.backup')
  await writeBackup(file, dump({ store, now: () => AT }), false)
  return { dir, file, original: await linesOf(readBackup(file)) }
}

/** What a restore of that backup holds: the parked message has become a letter. */
export function withLetter(original: readonly BackupLine[]): string[] {
  return facts(original)
    .map((text) => {
      const line = JSON.parse(text)
      if (line.table !== 'routemq_dead_letters') return text
      const error = { code: 'WORKER_LOST', message: 'Parked when the backup was made; it may have run since' }
      const parked = original.flatMap((one) => ('table' in one && one.table === 'routemq_parked' ? one.rows : []))[0]!
      const failedAt = Number(parked.parked_us) / 1e3
      const { payload, ...rest } = letter
      const record = JSON.stringify({ ...rest, error, attempts: 2, failedAt })
      const row = {
        id: 'parked-1',
        failed_us: Number(parked.parked_us),
        route: 'r',
        topic: 't/ä',
        code: 'WORKER_LOST',
        record,
        body: payload,
        bytes: Buffer.byteLength(record) + payload.length,
      }
      return JSON.stringify({ ...line, rows: [...line.rows, row] })
    })
    .sort()
}
