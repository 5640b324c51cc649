import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'

/** Holds 40 MB and throws away much more that lives long enough to get old; prints the most the heap took, MB. */
const CHURN = `
import v8 from 'node:v8'
const make = (n) => Array.from({ length: n }, (_, i) => ({ i, text: 'reading ' + i, list: [i, i + 1] }))
const held = Array.from({ length: 30 }, () => make(10_000))
let most = 0
const passing = []
for (let round = 0; round < 1_500; round += 1) {
  passing.push(make(1_000))
  if (passing.length > 60) passing.splice(0, 30)
  most = Math.max(most, v8.getHeapStatistics().used_heap_size)
}
console.log(held.length > 0 ? most / 1_048_576 : 0)
`

function mostMb(prelude: string): number {
  const tsx = import.meta.resolve('tsx')
  const args = ['--import', tsx, '--max-semi-space-size=4', '--input-type=module', '-e', prelude + CHURN]
  return Number(execFileSync(process.execPath, args, { encoding: 'utf8' }))
}

test('a process that grows its heap slowly holds much less garbage', () => {
  const path = fileURLToPath(new URL('../../../core/support/heap-growth.ts', import.meta.url))
  const slowly = mostMb(`import { growHeapSlowly } from ${JSON.stringify(path)}\ngrowHeapSlowly()\n`)
  const usually = mostMb('')
  assert.ok(slowly < usually * 0.8, `${slowly} MB instead of ${usually} MB`)
})
