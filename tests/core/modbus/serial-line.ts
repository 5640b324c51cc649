import { type ChildProcess, spawn } from 'node:child_process'
import { access, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface SerialLine {
  /** One path for each station on the line. */
  readonly paths: readonly string[]
  /** Noise on the line, heard by every station. */
  inject(bytes: Uint8Array): void
  close(): Promise<void>
}

/** Why serial tests cannot run, printed, or undefined; a failure where ROUTEMQ_TEST_SERVICES=required. */
export async function serialUnavailable(): Promise<string | undefined> {
  const isThere = await access('/usr/bin/socat').then(
    () => true,
    () => false,
  )
  if (isThere) return undefined
  const reason = 'socat is missing (apt-get install socat)'
  if (process.env.ROUTEMQ_TEST_SERVICES === 'required') throw new Error(reason)
  console.warn(`SKIPPED serial tests: ${reason}`)
  return reason
}

/**
 * A party line over socat's pseudo terminals: what one station sends all others hear, one byte after the other at the
 * pace of the baud rate, which pseudo terminals do not have by themselves.
 */
export async function openSerialLine(
  stations: number,
  baudRate: number,
  /** The station whose adapter hears what it sends itself. */
  echoing?: number,
): Promise<SerialLine> {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-line-'))
  const paths = Array.from({ length: stations }, (_, index) => join(folder, `station${index}`))
  const children = paths.map((path) =>
    spawn('/usr/bin/socat', [`pty,raw,echo=0,link=${path}`, '-'], { stdio: ['pipe', 'pipe', 'inherit'] }),
  )
  const queue: { from: number; byte: number }[] = []
  const characterMs = 11_000 / baudRate
  let nextAt = 0
  let timer: NodeJS.Timeout | undefined
  const pump = () => {
    timer = undefined
    const now = performance.now()
    nextAt = Math.max(nextAt, now - 2)
    const due = new Map<number, number[]>()
    while (queue.length > 0 && nextAt <= now) {
      const { from, byte } = queue.shift()!
      due.set(from, [...(due.get(from) ?? []), byte])
      nextAt += characterMs
    }
    for (const [from, bytes] of due) {
      children.forEach((child, index) => {
        if (index !== from || index === echoing) child.stdin!.write(Uint8Array.from(bytes))
      })
    }
    if (queue.length > 0) timer = setTimeout(pump, Math.max(1, nextAt - performance.now()))
  }
  const enqueue = (from: number, bytes: Uint8Array) => {
    for (const byte of bytes) queue.push({ from, byte })
    timer ??= setTimeout(pump, 1)
  }
  children.forEach((child, index) => {
    child.stdout!.on('data', (bytes: Buffer) => enqueue(index, bytes))
    child.stdin!.on('error', () => {})
  })
  for (const path of paths) await appears(path)
  return {
    paths,
    inject: (bytes) => enqueue(-1, bytes),
    async close() {
      clearTimeout(timer)
      await Promise.all(children.map(stop))
      await rm(folder, { recursive: true, force: true })
    },
  }
}

async function appears(path: string): Promise<void> {
  for (let attempt = 0; attempt < 200; attempt += 1) {
    const found = await access(path).then(
      () => true,
      () => false,
    )
    if (found) return
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  throw new Error(`socat made no ${path}`)
}

function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null) return resolve()
    child.once('exit', () => resolve())
    child.kill('SIGTERM')
  })
}
