import assert from 'node:assert/strict'
import { test } from 'node:test'
import { HttpDurations } from '../../../core/observability/http-durations.js'
import { Metrics, mergeMetrics } from '../../../core/observability/metrics.js'

const observation = { method: 'GET', route: '/a/:id', status: 200, seconds: 0.003 }

test('requests are a histogram: each bound counts all that were not longer', async () => {
  const durations = new HttpDurations()
  for (const seconds of [0.001, 0.003, 0.004, 0.2, 60]) durations.observe({ ...observation, seconds })
  durations.observe({ ...observation, status: 404, seconds: 0.5 })
  durations.observe({ ...observation, method: 'POST', seconds: 11 })
  const lines = (await mergeMetrics([[durations.family()]])).split('\n')
  const of = (labels: string) =>
    lines
      .filter((line) => line.includes(labels))
      .map((line) =>
        line.replace(`,${labels}`, '').replace(labels, '').replace('routemq_http_request_duration_seconds', ''),
      )
  assert.deepEqual(of('method="GET",route="/a/:id",status="2xx"'), [
    '_bucket{le="0.001"} 1',
    '_bucket{le="0.005"} 3',
    '_bucket{le="0.025"} 3',
    '_bucket{le="0.1"} 3',
    '_bucket{le="0.5"} 4',
    '_bucket{le="2.5"} 4',
    '_bucket{le="10"} 4',
    '_bucket{le="+Inf"} 5',
    '_sum{} 60.208',
    '_count{} 5',
  ])
  assert.equal(of('method="GET",route="/a/:id",status="4xx"').at(-1), '_count{} 1')
  assert.equal(of('method="POST",route="/a/:id",status="2xx"')[7], '_bucket{le="+Inf"} 1')
})

test('a reset begins again at nothing', async (t) => {
  const metrics = new Metrics({ process: 'gateway' })
  t.after(() => metrics.stop())
  metrics.observeHttp(observation)
  assert.match(await metrics.text(), /duration_seconds_count\{[^}]*\} 1/)
  metrics.reset()
  assert.doesNotMatch(await metrics.text(), /duration_seconds_count/)
})
