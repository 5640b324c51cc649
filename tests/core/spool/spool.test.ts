import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { appendFile, mkdtemp, open, readdir, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { Spool } from '../../../core/spool/spool.js'

let root: string
let serial = 0
before(async () => {
  root = await mkdtemp(join(tmpdir(), 'routemq-spool-'))
})
after(() => rm(root, { recursive: true, force: true }))

const MiB = 1024 * 1024
const fresh = () => join(root, String(serial++))
const records = (...texts: (string | number)[]) => texts.map((text) => Buffer.from(String(text)))
const texts = (found: readonly { data: Buffer }[]) => found.map(({ data }) => data.toString())
const range = (count: number, from = 0) => Array.from({ length: count }, (_, index) => from + index)

async function segmentFiles(dir: string): Promise<string[]> {
  return (await readdir(dir))
    .filter((name) => name.endsWith('.seg'))
    .sort()
    .map((name) => join(dir, name))
}

async function readAll(spool: Spool): Promise<string[]> {
  const out: string[] = []
  for (;;) {
    const found = await spool.peek(100)
    if (found.length === 0) return out
    out.push(...texts(found))
    await spool.ack(found.at(-1)!.position)
  }
}

test('records come back in the order appended, until they are acknowledged', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: MiB })
  await spool.append(records('a', 'b'))
  await spool.append(records('c', ''))
  assert.deepEqual(texts(await spool.peek(3)), ['a', 'b', 'c'])
  const first = await spool.peek(2)
  assert.deepEqual(texts(first), ['a', 'b'])
  assert.equal(spool.count, 4)
  await spool.ack(first[1]!.position)
  assert.deepEqual(texts(await spool.peek(10)), ['c', ''])
  assert.equal(spool.count, 2)
  assert.equal(spool.bytes, 2 * 12 + 1)
  await spool.close()
})

test('a record is read by the position before it, without being given out', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: MiB, segmentBytes: 64 })
  const [a, b] = await spool.append(records('a', 'b'))
  const [c] = await spool.append(records('c'.repeat(200)))
  const positions = await Promise.all(range(20).map((n) => spool.append(records(`r${n}`))))
  assert.equal(String(await spool.read(b!)), 'b')
  assert.equal(String(await spool.read(c!)), 'c'.repeat(200))
  for (const [n, [position]] of positions.entries()) assert.equal(String(await spool.read(position!)), `r${n}`)
  assert.equal(await spool.read(spool.bytes), undefined)
  const [first] = await spool.peek(1)
  await spool.ack(first!.position)
  assert.equal(String(await spool.read(a!)), 'b', 'what is gone is passed over')
  assert.deepEqual((await readAll(spool)).slice(0, 2), ['b', 'c'.repeat(200)])
  assert.equal(spool.count, 0)
  await spool.close()
})

test('peek after a position gives what lies behind it, and acknowledging the middle removes all before', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: MiB })
  await spool.append(records(0, 1, 2, 3))
  const first = await spool.peek(2)
  const second = await spool.peek(2, first[1]!.position)
  assert.deepEqual(texts(second), ['2', '3'])
  await spool.ack(second[0]!.position)
  assert.deepEqual(texts(await spool.peek(9)), ['3'])
  await spool.ack(first[0]!.position) // long gone: no effect
  assert.equal(spool.count, 1)
  await assert.rejects(spool.ack(second[1]!.position + 5), { code: 'INTERNAL' })
  await spool.close()
})

test('a spool opened again goes on where it was acknowledged', async () => {
  const dir = fresh()
  const first = await Spool.open({ dir, maxBytes: MiB })
  await first.append(records(...range(1000)))
  await first.ack((await first.peek(400)).at(-1)!.position)
  await first.close()
  const second = await Spool.open({ dir, maxBytes: MiB })
  assert.equal(second.count, 600)
  await second.append(records(1000))
  assert.deepEqual(await readAll(second), range(601, 400).map(String))
  assert.equal(second.count, 0)
  assert.equal(second.bytes, 0)
  await second.close()
})

test('records larger than a read and than a segment survive', async () => {
  const dir = fresh()
  const spool = await Spool.open({ dir, maxBytes: 64 * MiB, segmentBytes: 65_536 })
  const big = range(6).map((index) => Buffer.alloc(300_000 + index, index))
  await spool.append(big)
  await spool.append(records('tail'))
  const found = await spool.peek(10)
  assert.equal(found.length, 7)
  for (const [index, data] of big.entries()) assert.ok(found[index]!.data.equals(data))
  await spool.close()
})

test('acknowledged segments leave the disk', async () => {
  const dir = fresh()
  const spool = await Spool.open({ dir, maxBytes: 8 * MiB, segmentBytes: 65_536, fsync: false })
  for (let round = 0; round < 40; round++) {
    await spool.append([Buffer.alloc(50_000, round)])
    await spool.ack((await spool.peek(1))[0]!.position)
  }
  const files = await segmentFiles(dir)
  const sizes = await Promise.all(files.map(async (file) => (await stat(file)).size))
  assert.ok(sizes.reduce((sum, size) => sum + size, 0) <= 2 * 65_536 + 50_012, `${sizes}`)
  await spool.close()
})

test('the bound refuses a batch whole and takes again after acknowledgement', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: 1_000 })
  await spool.append([Buffer.alloc(900)])
  await assert.rejects(spool.append([Buffer.alloc(10), Buffer.alloc(100)]), { code: 'SPOOL_FULL' })
  assert.equal(spool.count, 1)
  await spool.ack((await spool.peek(1))[0]!.position)
  await spool.append([Buffer.alloc(10), Buffer.alloc(100)])
  assert.equal(spool.count, 2)
  await spool.close()
})

test('the bound counts what is still being written', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: 1_000 })
  const outcomes = await Promise.allSettled(range(5).map(() => spool.append([Buffer.alloc(388)])))
  assert.equal(outcomes.filter(({ status }) => status === 'fulfilled').length, 2)
  assert.equal(spool.bytes, 800)
  await spool.close()
})

test('dropping the oldest makes room and counts them', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: 1_120 })
  await spool.append(records(...range(70).map((n) => `${n}`.padStart(4, '0')))) // 16 bytes each: full
  assert.equal(await spool.dropOldest(160), 10)
  await spool.append(records(...range(10).map((n) => `n${n}`.padStart(4, '0'))))
  assert.equal(spool.count, 70)
  assert.equal(texts(await spool.peek(1))[0], '0010')
  assert.equal(spool.damage.droppedRecords, 10)
  await spool.close()
})

test('appends and reads side by side keep order and count', async () => {
  const spool = await Spool.open({ dir: fresh(), maxBytes: 16 * MiB, segmentBytes: 65_536, fsync: false })
  const got: string[] = []
  const writing = Promise.all(range(300).map((n) => spool.append(records(...range(20, n * 20)))))
  while (got.length < 6_000) {
    const found = await spool.peek(97)
    got.push(...texts(found))
    if (found.length > 0) await spool.ack(found.at(-1)!.position)
    else await new Promise(setImmediate)
  }
  await writing
  assert.deepEqual(got, range(6_000).map(String))
  assert.equal(spool.count, 0)
  await spool.close()
})

for (const cut of [1, 11, 12, 15, 16]) {
  test(`a last write torn ${cut} bytes in is cut and the spool goes on`, async () => {
    const dir = fresh()
    const first = await Spool.open({ dir, maxBytes: MiB })
    await first.append(records('kept'))
    const whole = first.bytes
    await first.append(records('torn!'))
    await first.close()
    const [file] = await segmentFiles(dir)
    await truncate(file!, whole + cut)
    const second = await Spool.open({ dir, maxBytes: MiB })
    assert.equal(second.count, 1)
    assert.equal(second.damage.tornBytes, cut)
    await second.append(records('next'))
    assert.deepEqual(texts(await second.peek(9)), ['kept', 'next'])
    await second.close()
    const third = await Spool.open({ dir, maxBytes: MiB })
    assert.deepEqual(await readAll(third), ['kept', 'next'])
    await third.close()
  })
}

test('garbage after the last record, as a crash leaves it in an unwritten block, is cut', async () => {
  const dir = fresh()
  const first = await Spool.open({ dir, maxBytes: MiB })
  await first.append(records('a'))
  await first.close()
  await appendFile((await segmentFiles(dir))[0]!, Buffer.alloc(4096))
  const second = await Spool.open({ dir, maxBytes: MiB })
  assert.deepEqual(texts(await second.peek(9)), ['a'])
  assert.equal(second.damage.tornBytes, 4096)
  await second.close()
})

async function flip(file: string, offset: number): Promise<void> {
  const handle = await open(file, 'r+')
  const byte = Buffer.alloc(1)
  await handle.read(byte, 0, 1, offset)
  byte[0]! ^= 0x40
  await handle.write(byte, 0, 1, offset)
  await handle.close()
}

for (const [what, offset] of [
  ['data', 14],
  ['checksum', 9],
  ['length', 4],
  ['magic', 0],
] as const) {
  test(`bit rot in the ${what} of a record costs that record only and is counted`, async () => {
    const dir = fresh()
    const first = await Spool.open({ dir, maxBytes: MiB })
    await first.append(records(...range(50).map((n) => `record-${n}`.padStart(12, '0'))))
    await first.close()
    await flip((await segmentFiles(dir))[0]!, 24 * 20 + offset)
    const second = await Spool.open({ dir, maxBytes: MiB })
    assert.equal(second.count, 49)
    assert.equal(second.damage.skippedStretches, 1)
    const found = await readAll(second)
    assert.equal(found.length, 49)
    assert.ok(!found.some((text) => text.endsWith('record-20')))
    assert.equal(second.count, 0)
    await second.close()
  })
}

test('bit rot that comes while the spool is open is skipped and counted once', async () => {
  const dir = fresh()
  const spool = await Spool.open({ dir, maxBytes: MiB })
  await spool.append(records('aaaa', 'bbbb', 'cccc'))
  await flip((await segmentFiles(dir))[0]!, 16 + 13)
  assert.deepEqual(texts(await spool.peek(9)), ['aaaa', 'cccc'])
  const found = await spool.peek(9)
  assert.equal(spool.damage.skippedStretches, 1)
  assert.equal(spool.count, 2)
  await spool.ack(found.at(-1)!.position)
  assert.equal(spool.count, 0)
  await spool.close()
})

test('a record that contains a frame is not mistaken for two', async () => {
  const dir = fresh()
  const inner = await Spool.open({ dir, maxBytes: MiB })
  await inner.append(records('inside'))
  await inner.close()
  const frame = await readFile((await segmentFiles(dir))[0]!)
  const outerDir = fresh()
  const outer = await Spool.open({ dir: outerDir, maxBytes: MiB })
  await outer.append([Buffer.concat([frame, frame]), Buffer.from('after')])
  await outer.close()
  await flip((await segmentFiles(outerDir))[0]!, 5) // the length of the outer record: reading must search on
  const again = await Spool.open({ dir: outerDir, maxBytes: MiB })
  assert.deepEqual(texts(await again.peek(9)), ['after'])
  await again.close()
})

test('a torn acknowledgement falls back to the one before', async () => {
  const dir = fresh()
  const first = await Spool.open({ dir, maxBytes: MiB })
  await first.append(records('a', 'b', 'c'))
  const found = await first.peek(3)
  await first.ack(found[0]!.position)
  await first.ack(found[1]!.position)
  await first.close()
  await flip(join(dir, 'head'), 12) // slot 0 holds the second acknowledgement
  const second = await Spool.open({ dir, maxBytes: MiB })
  assert.deepEqual(texts(await second.peek(9)), ['b', 'c'])
  await second.close()
})

test('a second writer is refused, in this process and from another', async () => {
  const dir = fresh()
  const first = await Spool.open({ dir, maxBytes: MiB })
  await assert.rejects(Spool.open({ dir, maxBytes: MiB }), { code: 'SPOOL_LOCKED' })
  const child = writer(dir, 'hold')
  const [line] = await firstLine(child)
  assert.equal(line, 'SPOOL_LOCKED')
  await first.close()
  const second = await Spool.open({ dir, maxBytes: MiB })
  await second.close()
})

test('locks of dead processes, of an earlier life of our pid and half-made ones are taken over', async () => {
  const dir = fresh()
  const child = writer(dir, 'hold')
  assert.equal((await firstLine(child))[0], 'open')
  await assert.rejects(Spool.open({ dir, maxBytes: MiB }), { code: 'SPOOL_LOCKED' })
  child.kill('SIGKILL')
  await once(child, 'exit')
  for (const left of [undefined, `${process.pid} 1\n`, `${process.pid}\n`]) {
    if (left !== undefined) await writeFile(join(dir, 'lock'), left)
    const spool = await Spool.open({ dir, maxBytes: MiB })
    await spool.close()
  }
})

test('SIGKILL while appending loses nothing that was reported durable', async () => {
  const dir = fresh()
  let reported = -1
  for (let round = 0; round < 4; round++) {
    const child = writer(dir, 'append', String(reported + 1))
    let text = ''
    const appending = new Promise<void>((resolve) => {
      child.stdout.on('data', (chunk) => {
        text += chunk
        if (text.split('\n').length > 40) resolve()
      })
      child.on('close', () => resolve())
    })
    // Killed at another moment of its work each time.
    await appending
    await new Promise((resolve) => setTimeout(resolve, round * 70))
    child.kill('SIGKILL')
    await once(child, 'close')
    const numbers = text.split('\n').slice(0, -1).map(Number)
    reported = numbers.at(-1) ?? reported
    const spool = await Spool.open({ dir, maxBytes: 512 * MiB })
    assert.ok(spool.count >= reported + 1, `${spool.count} records, ${reported} reported`)
    // What was written but not reported may be there too: the next round goes on after it.
    reported = spool.count - 1
    await spool.close()
  }
  const spool = await Spool.open({ dir, maxBytes: 512 * MiB })
  assert.ok(reported > 100, `only ${reported} records were written`)
  assert.deepEqual(await readAll(spool), range(reported + 1).map(String))
  assert.equal(spool.damage.skippedStretches, 0)
  await spool.close()
})

function writer(dir: string, ...args: string[]) {
  return spawn(process.execPath, ['--import', 'tsx', new URL('./writer.ts', import.meta.url).pathname, dir, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
}

async function firstLine(child: ReturnType<typeof writer>): Promise<string[]> {
  let text = ''
  for await (const chunk of child.stdout) {
    text += chunk
    if (text.includes('\n')) break
  }
  return text.split('\n')
}
