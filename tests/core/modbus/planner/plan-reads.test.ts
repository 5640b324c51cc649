import assert from 'node:assert/strict'
import { test } from 'node:test'
import { type PlanOptions, planCost, planReads, type Wanted } from '../../../../core/modbus/planner/plan-reads.js'
import { seeded } from '../../support/seeded.js'

/** The cheapest partition of all, by trying every one that could still cost less than `bound`. */
function bruteForce(wanted: readonly Wanted[], options: PlanOptions, bound: number): number {
  let best = bound
  const groups: Wanted[][] = []
  const place = (index: number) => {
    // Ranges that come later make no group cheaper, so what is too dear already stays so.
    const least = groups.reduce((sum, group) => sum + options.requestMs + span(group).count * options.addressMs, 0)
    if (least >= best) return
    if (index === wanted.length) {
      const cost = groups.reduce((sum, group) => sum + groupCost(group, options), 0)
      if (cost < best) best = cost
      return
    }
    for (const group of groups) {
      group.push(wanted[index]!)
      if (span(group).count <= options.max) place(index + 1)
      group.pop()
    }
    groups.push([wanted[index]!])
    place(index + 1)
    groups.pop()
  }
  place(0)
  return best
}

function span(group: readonly Wanted[]): Wanted {
  const address = Math.min(...group.map((range) => range.address))
  return { address, count: Math.max(...group.map((range) => range.address + range.count)) - address }
}

function groupCost(group: readonly Wanted[], options: PlanOptions): number {
  const { address, count } = span(group)
  if (count > options.max) return Number.POSITIVE_INFINITY
  let gap = 0
  for (let at = address; at < address + count; at += 1) {
    const isWanted = group.some((range) => range.address <= at && at < range.address + range.count)
    gap = isWanted ? 0 : gap + 1
    if (gap > (options.maxGap ?? Number.POSITIVE_INFINITY)) return Number.POSITIVE_INFINITY
    if (!isWanted && options.forbidden?.some((range) => range.from <= at && at <= range.to))
      return Number.POSITIVE_INFINITY
  }
  for (const { from, to } of options.apart ?? []) {
    const isOfOne = group.some((range) => range.address <= from && to < range.address + range.count)
    if (address <= from && to < address + count && !isOfOne) return Number.POSITIVE_INFINITY
  }
  return options.requestMs + count * options.addressMs
}

function layout(random: () => number, size: number, width: number): Wanted[] {
  return Array.from({ length: size }, () => ({
    address: Math.floor(random() * width),
    count: [1, 1, 2, 4, 11][Math.floor(random() * 5)]!,
  }))
}

test('equals brute force on 200 seeded layouts of up to 12 points', () => {
  for (let seed = 1; seed <= 200; seed += 1) {
    const random = seeded(seed)
    // Bell numbers grow fast: most layouts are small, every tenth has 10 to 12 points.
    const size = seed % 20 === 0 ? 12 : seed % 10 === 0 ? 10 : 1 + Math.floor(random() * 8)
    const wanted = layout(random, size, 40 + Math.floor(random() * 400))
    const options: PlanOptions = {
      max: [16, 60, 125][seed % 3]!,
      requestMs: [0.5, 5, 50][seed % 3]!,
      addressMs: [0.01, 0.2, 2][Math.floor(random() * 3)]!,
      maxGap: seed % 4 === 0 ? 10 : undefined,
      forbidden:
        seed % 5 === 0
          ? [
              { from: 30, to: 34 },
              { from: 100, to: 100 },
            ]
          : [],
      apart:
        seed % 3 === 0
          ? Array.from({ length: 3 }, () => {
              const from = Math.floor(random() * 200)
              return { from, to: from + 1 + Math.floor(random() * 12) }
            })
          : undefined,
    }
    const plan = planReads(wanted, options)
    const own = plan.reduce(
      (sum, read) =>
        sum +
        groupCost(
          read.wanted.map((i) => wanted[i]!),
          options,
        ),
      0,
    )
    assert.ok(Math.abs(own - planCost(plan, options)) < 1e-9, `seed ${seed}: the plan keeps its own rules`)
    const best = bruteForce(wanted, options, own + 1e-6)
    assert.ok(
      Math.abs(planCost(plan, options) - best) < 1e-9,
      `seed ${seed}: ${planCost(plan, options)} against ${best}`,
    )
    const brought = plan.flatMap((read) => {
      assert.ok(read.count <= options.max)
      for (const index of read.wanted) {
        const range = wanted[index]!
        assert.ok(range.address >= read.address && range.address + range.count <= read.address + read.count)
      }
      return read.wanted
    })
    assert.deepEqual(
      brought.sort((a, b) => a - b),
      wanted.map((_, i) => i),
      `seed ${seed}: every range once`,
    )
  }
})

test('is never beaten by contiguous, gaps up to 50, or one by one on 50 large layouts', () => {
  for (let seed = 1; seed <= 50; seed += 1) {
    const wanted = layout(seeded(seed), 300, 4_000)
    for (const requestMs of [0.5, 5, 50]) {
      const options = { max: 125, requestMs, addressMs: 0.02 }
      const cost = planCost(planReads(wanted, options), options)
      for (const rival of [greedy(wanted, 0), greedy(wanted, 50), wanted]) {
        assert.ok(cost <= planCost(rival, options) + 1e-9, `seed ${seed} at ${requestMs} ms`)
      }
    }
  }
})

/** Joins in order of address while the gap is small enough. */
function greedy(wanted: readonly Wanted[], maxGap: number): Wanted[] {
  const reads: { address: number; count: number }[] = []
  for (const { address, count } of [...wanted].sort((a, b) => a.address - b.address)) {
    const last = reads.at(-1)
    const end = last === undefined ? 0 : last.address + last.count
    const joined = Math.max(end, address + count) - (last?.address ?? 0)
    if (last !== undefined && address - end <= maxGap && joined <= 125) last.count = joined
    else reads.push({ address, count })
  }
  return reads
}

test('1,000 points are planned in under 20 ms', () => {
  const wanted = layout(seeded(7), 1_000, 20_000)
  const options = { max: 125, requestMs: 5, addressMs: 0.02 }
  planReads(wanted, options)
  // Processor time of the best of several: what else runs here is not its cost.
  const times = Array.from({ length: 10 }, () => {
    const start = process.cpuUsage()
    planReads(wanted, options)
    return process.cpuUsage(start).user / 1_000
  })
  assert.ok(Math.min(...times) < 20, `${Math.min(...times)} ms`)
})

test('what is forbidden, apart, or too far is not read together', () => {
  const wanted = [
    { address: 0, count: 2 },
    { address: 4, count: 2 },
  ]
  const options = { max: 125, requestMs: 50, addressMs: 0.01 }
  const reads = (more: Partial<PlanOptions>) => planReads(wanted, { ...options, ...more }).length
  assert.equal(reads({}), 1)
  assert.equal(reads({ forbidden: [{ from: 3, to: 3 }] }), 2)
  assert.equal(reads({ forbidden: [{ from: 1, to: 1 }] }), 1, 'a wanted address may be named forbidden for gaps')
  assert.equal(reads({ apart: [{ from: 3, to: 4 }] }), 2)
  assert.equal(reads({ apart: [{ from: 0, to: 1 }] }), 1, 'what one wanted range brings is not apart')
  assert.equal(reads({ apart: [{ from: 6, to: 7 }] }), 1)
  assert.equal(reads({ maxGap: 1 }), 2)
  assert.equal(reads({ max: 4 }), 2)
  assert.throws(() => planReads([{ address: 0, count: 5 }], { ...options, max: 4 }), RangeError)
  assert.deepEqual(planReads([], options), [])
})
