import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { LateSpool } from '../../../core/spool/late-spool.js'
import { Spool } from '../../../core/spool/spool.js'
import { until } from '../support/until.js'

/** A small file system of our own, that can be filled and made read-only. */
function mount(bytes: number): string {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-disk-'))
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${bytes}`, 'routemq', dir], { stdio: 'pipe' })
  } catch (error) {
    rmSync(dir, { recursive: true })
    throw error
  }
  mounts.push(dir)
  return dir
}
const mounts: string[] = []

function whyNoDisk(): string | undefined {
  try {
    mount(65_536)
    return undefined
  } catch (error) {
    return `a file system cannot be mounted here: ${String(error).split('\n').at(-2)}`
  }
}

const reason = whyNoDisk()
if (reason !== undefined) console.error(`SKIPPED: full and read-only disks: ${reason}`)

describe('a spool on a bad disk', { skip: reason ?? false }, () => {
  after(() => {
    for (const dir of mounts) {
      execFileSync('umount', ['-l', dir])
      rmSync(dir, { recursive: true })
    }
  })

  test('a full disk refuses appends, harms no record, and takes again when there is room', async () => {
    const disk = mount(256 * 1024)
    const dir = join(disk, 'spool')
    const spool = await Spool.open({ dir, maxBytes: 100 * 1024 * 1024, segmentBytes: 65_536 })
    const kept: number[] = []
    let refused = 0
    for (let n = 0; n < 60; n++) {
      try {
        await spool.append([Buffer.alloc(10_000, n)])
        kept.push(n)
      } catch (error) {
        assert.equal((error as { code?: string }).code, 'SPOOL_FAILED')
        refused += 1
      }
    }
    assert.ok(kept.length >= 15 && refused > 0)
    assert.equal(spool.count, kept.length)
    // Reading and acknowledging work on a full disk, and make room.
    const first = await spool.peek(14)
    assert.deepEqual(
      first.map(({ data }) => data[0]),
      kept.slice(0, 14),
    )
    await spool.ack(first.at(-1)!.position)
    await spool.append([Buffer.alloc(10_000, 77)])
    await spool.close()

    const again = await Spool.open({ dir, maxBytes: 100 * 1024 * 1024 })
    const rest = await again.peek(1_000)
    assert.deepEqual(
      rest.map(({ data }) => data[0]),
      [...kept.slice(14), 77],
    )
    assert.equal(again.damage.skippedStretches, 0)
    await again.close()
  })

  test('a disk filled by somebody else in the middle of a write leaves whole records only', async () => {
    const disk = mount(512 * 1024)
    const dir = join(disk, 'spool')
    const spool = await Spool.open({ dir, maxBytes: 100 * 1024 * 1024 })
    await spool.append([Buffer.alloc(1_000, 1)])
    await writeFile(join(disk, 'other'), Buffer.alloc(400 * 1024))
    await assert.rejects(spool.append([Buffer.alloc(200 * 1024, 2)]), { code: 'SPOOL_FAILED', message: /ENOSPC/ })
    await spool.append([Buffer.alloc(1_000, 3)])
    await rm(join(disk, 'other'))
    await spool.append([Buffer.alloc(200 * 1024, 4)])
    assert.deepEqual(
      (await spool.peek(9)).map(({ data }) => [data[0], data.length]),
      [
        [1, 1_000],
        [3, 1_000],
        [4, 204_800],
      ],
    )
    await spool.close()
  })

  test('a read-only disk is refused when opening, and nothing on it is harmed', async () => {
    const disk = mount(1024 * 1024)
    const dir = join(disk, 'spool')
    const spool = await Spool.open({ dir, maxBytes: 1024 * 1024 })
    await spool.append([Buffer.from('kept')])
    await spool.close()
    execFileSync('mount', ['-o', 'remount,ro', disk])
    await assert.rejects(Spool.open({ dir, maxBytes: 1024 * 1024 }), { code: 'SPOOL_FAILED' })
    execFileSync('mount', ['-o', 'remount,rw', disk])
    const again = await Spool.open({ dir, maxBytes: 1024 * 1024 })
    assert.deepEqual(
      (await again.peek(9)).map(({ data }) => data.toString()),
      ['kept'],
    )
    await again.close()
  })

  for (const { what, refuse, allow } of [
    {
      what: 'a full disk',
      refuse: (disk: string) => fill(disk),
      allow: (disk: string) => rm(join(disk, 'other')),
    },
    {
      what: 'a read-only disk',
      refuse: async (disk: string) => void execFileSync('mount', ['-o', 'remount,ro', disk]),
      allow: async (disk: string) => void execFileSync('mount', ['-o', 'remount,rw', disk]),
    },
  ]) {
    test(`on ${what} a late spool refuses, opens by itself when it can, and has what it had`, async () => {
      const disk = mount(512 * 1024)
      const dir = join(disk, 'spool')
      const earlier = await Spool.open({ dir, maxBytes: 1024 * 1024 })
      await earlier.append([Buffer.from('kept')])
      await earlier.close()
      await refuse(disk)
      const late = await LateSpool.open({ dir, maxBytes: 1024 * 1024, retryMs: 5 })
      assert.match(late.whyNotOpen ?? '', /cannot be opened: (ENOSPC|EROFS)/)
      await assert.rejects(late.append([Buffer.from('lost')]), { code: 'SPOOL_FAILED' })
      await assert.rejects(late.tryWriting(), { code: 'SPOOL_FAILED' })
      await assert.rejects(late.peek(9), { code: 'SPOOL_FAILED' }, 'what is in it is not taken for nothing')
      await allow(disk)
      await until(() => late.whyNotOpen === undefined)
      await late.opened
      await late.tryWriting()
      await late.append([Buffer.from('new')])
      assert.deepEqual(
        (await late.peek(9)).map(({ data }) => data.toString()),
        ['kept', 'new'],
      )
      await late.close()
    })
  }

  test('a late spool that was never made holds nothing, and one that is closed stays closed', async () => {
    const disk = mount(512 * 1024)
    await fill(disk)
    const dir = join(disk, 'spool')
    const late = await LateSpool.open({ dir, maxBytes: 1024 * 1024, retryMs: 1 })
    assert.deepEqual(await late.peek(9), [])
    await late.close()
    await rm(join(disk, 'other'))
    const other = await Spool.open({ dir, maxBytes: 1024 * 1024 })
    await other.close()
  })
})

test('a late spool refuses at once what waiting does not mend', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'routemq-disk-'))
  await writeFile(join(dir, 'file'), '')
  await assert.rejects(LateSpool.open({ dir: join(dir, 'file/spool'), maxBytes: 1024 * 1024 }), {
    code: 'SPOOL_FAILED',
  })
  const owner = await LateSpool.open({ dir: join(dir, 'spool'), maxBytes: 1024 * 1024 })
  await assert.rejects(LateSpool.open({ dir: join(dir, 'spool'), maxBytes: 1024 * 1024 }), { code: 'SPOOL_LOCKED' })
  await owner.close()
  rmSync(dir, { recursive: true })
})

/** Takes all the room that is left. */
async function fill(disk: string): Promise<void> {
  const { bavail, bsize } = statfsSync(disk)
  await writeFile(join(disk, 'other'), Buffer.alloc(bavail * bsize))
}
