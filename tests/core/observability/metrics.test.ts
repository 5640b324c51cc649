import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BoundedLabel, OTHER } from '../../../core/observability/bounded-label.js'
import { Metrics, type MetricsSnapshot, mergeMetrics } from '../../../core/observability/metrics.js'
import { ProcessWatch } from '../../../core/observability/process-stats.js'
import { statsFamilies } from '../../../core/observability/stats-metrics.js'

test('metrics of several processes become one text, each line with its process, after a trip over IPC', async (context) => {
  const gateway = new Metrics({ process: 'gateway' })
  const worker = new Metrics({ process: 'slot-1' })
  context.after(() => {
    gateway.stop()
    worker.stop()
  })
  for (const [metrics, by] of [
    [gateway, 2],
    [worker, 3],
  ] as const) {
    metrics.counter({ name: 'routemq_messages_total', help: 'Messages', labelNames: ['route'] }).inc({ route: 'a' }, by)
    metrics.histogram({ name: 'routemq_wait_seconds', help: 'Waiting', buckets: [1] }).observe(by)
  }
  const overIpc = JSON.parse(JSON.stringify(await worker.snapshot())) as MetricsSnapshot
  const text = await gateway.text([overIpc])
  assert.match(text, /routemq_messages_total\{process="gateway",route="a"\} 2\n/)
  assert.match(text, /routemq_messages_total\{process="slot-1",route="a"\} 3\n/)
  assert.equal(text.match(/# TYPE routemq_messages_total counter/g)?.length, 1)
  assert.match(
    text,
    /routemq_wait_seconds_bucket\{process="slot-1",le="\+Inf"\} 1|routemq_wait_seconds_bucket\{le="\+Inf",process="slot-1"\} 1/,
  )
  assert.match(text, /routemq_process_memory_rss_bytes\{process="gateway"\} \d+/)
  assert.match(text, /routemq_process_cpu_seconds_total\{process="slot-1"\} [\d.]+/)
})

test('two snapshots of one process add up', async () => {
  const one: MetricsSnapshot = [
    { name: 'x_total', help: 'x', type: 'counter', values: [{ labels: { a: 'b' }, value: 2 }] },
  ]
  assert.match(await mergeMetrics([one, one]), /x_total\{a="b"\} 4/)
})

test('numbers of plain stats become metrics, with the names people expect', () => {
  const families = statsFamilies('lane', [
    {
      labels: { lane: 'a' },
      stats: {
        inFlight: 3,
        droppedTotal: 4n,
        paused: true,
        name: 'x',
        list: [1],
        nested: { bytesHeld: 5 },
        nothing: Number.NaN,
      },
    },
    { labels: { lane: 'b' }, stats: { inFlight: 1 } },
  ])
  assert.deepEqual(
    families.map(({ name, type, values }) => [name, type, values.map(({ value }) => value)]),
    [
      ['routemq_lane_in_flight', 'gauge', [3, 1]],
      ['routemq_lane_dropped_total', 'counter', [4]],
      ['routemq_lane_paused', 'gauge', [1]],
      ['routemq_lane_nested_bytes_held', 'gauge', [5]],
    ],
  )
})

test('a source cannot make metrics without end', () => {
  const stats = Object.fromEntries(Array.from({ length: 10_000 }, (_, i) => [`topic${i}`, i]))
  assert.equal(statsFamilies('x', [{ labels: {}, stats }]).length, 200)
})

test('a label from outside keeps its first values and calls the rest other', () => {
  const label = new BoundedLabel(2)
  assert.deepEqual(
    ['a', 'b', 'c', 'a', 'd'].map((value) => label.of(value)),
    ['a', 'b', OTHER, 'a', OTHER],
  )
})

test('a reset starts the counters of the process anew', async (context) => {
  const metrics = new Metrics({ process: 'gateway' })
  context.after(() => metrics.stop())
  metrics.counter({ name: 'routemq_y_total', help: 'y' }).inc(5)
  metrics.reset()
  assert.match(await metrics.text(), /routemq_y_total\{process="gateway"\} 0/)
})

test('a loop that was blocked shows in the lag of the next look, and only there', async (context) => {
  const watch = new ProcessWatch()
  context.after(() => watch.stop())
  watch.read()
  await new Promise((resolve) => setTimeout(resolve, 30))
  const end = performance.now() + 120
  while (performance.now() < end) {} // what a long computation does
  await new Promise((resolve) => setTimeout(resolve, 30))
  assert.ok(watch.read().event_loop_lag_max_seconds >= 0.09)
  assert.equal(watch.read().event_loop_lag_max_seconds, 0)
})
