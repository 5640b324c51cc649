import { connectAsync, type MqttClient } from 'mqtt'
import { Product } from '../../tests/e2e/support/product.js'
import { makeProject } from '../../tests/e2e/support/project.js'
import { Witness } from '../../tests/proofs/support/witness.js'
import { type Benchmark, median } from '../harness.js'
import { startMosquitto } from '../mosquitto.js'

/** Worker processes and handlers at a time in each. */
type Size = readonly [workers: number, concurrency: number]
const ONE: Size = [1, 1]
const SHORT: readonly Size[] = [ONE, [8, 1], [1, 8]]
const FULL: readonly Size[] = [ONE, [2, 1], [4, 1], [8, 1], [1, 2], [1, 4], [1, 8], [2, 4], [4, 2]]
/** What a handler waits for: a device, a database. */
const HANDLER_MS = 25
/** Messages for each handler that may run at a time; the last of them must not wait as long as `ackHold`. */
const EACH = 40
const LIMIT_MS = 60_000

const topicOf = ([workers, concurrency]: Size) => `io/w${workers}c${concurrency}`

function routerOf(sizes: readonly Size[]): string {
  const routes = sizes.map(
    (size) =>
      `router.on('${topicOf(size)}/{n:int}', wait, { qos: 1, shared: true, workers: ${size[0]}, concurrency: ${size[1]} })`,
  )
  return `
import { appendFileSync } from 'node:fs'
import { Router } from 'routemq'
const router = new Router()
async function wait({ topic }: { topic: string }) {
  const begun = Date.now()
  await new Promise((resolve) => setTimeout(resolve, ${HANDLER_MS}))
  appendFileSync(process.env.WITNESS!, process.pid + ' ' + topic + ' ' + begun + ' ' + Date.now() + '\\n')
}
${routes.join('\n')}
export default router
`
}

/** Messages a second from the begin of the first handler to the end of the last; each message exactly once. */
async function measure(client: MqttClient, witness: Witness, size: Size): Promise<number> {
  const count = size[0] * size[1] * EACH
  const before = witness.lines().length
  await Promise.all(
    Array.from({ length: count }, (_, n) => client.publishAsync(`${topicOf(size)}/${n}`, '{}', { qos: 1 })),
  )
  const giveUpAt = performance.now() + LIMIT_MS
  while (witness.lines().length < before + count) {
    if (performance.now() > giveUpAt) throw new Error(`${witness.lines().length - before} of ${count} were handled`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  const lines = witness
    .lines()
    .slice(before)
    .map((line) => line.split(' '))
  const topics = new Set(lines.map(([, topic]) => topic))
  const processes = new Set(lines.map(([pid]) => pid))
  if (lines.length !== count || topics.size !== count) throw new Error(`${topics.size} of ${count}, the run is void`)
  if (processes.size !== size[0]) throw new Error(`${processes.size} processes ran a route of ${size[0]}`)
  const first = Math.min(...lines.map(([, , begun]) => Number(begun)))
  const last = Math.max(...lines.map(([, , , ended]) => Number(ended)))
  return (count / (last - first)) * 1_000
}

const benchmark: Benchmark = {
  title: `handlers that wait ${HANDLER_MS} ms, by worker processes and handlers at a time; the running product`,
  async run({ short, rounds }) {
    const sizes = short ? SHORT : FULL
    const broker = await startMosquitto()
    const witness = new Witness()
    const project = makeProject({
      'app/devices.ts': `import { defineDevices } from 'routemq'\nexport default defineDevices({ devices: [] })\n`,
      'routers/devices.ts': routerOf(sizes),
      'routers/availability.ts': `import { Router } from 'routemq'\nexport default new Router()\n`,
    })
    let product: Product | undefined
    let client: MqttClient | undefined
    try {
      const env = {
        MQTT_URL: broker.url,
        HTTP_PORT: '0',
        POLL_ENABLED: 'false',
        LOG_LEVEL: 'warn',
        WITNESS: witness.file,
      }
      product = await Product.start(project.root, { env, args: ['--workers', '8'] })
      client = await connectAsync(broker.url)
      const rates = new Map<Size, number[]>(sizes.map((size) => [size, []]))
      for (const size of sizes) await measure(client, witness, size)
      for (let round = 0; round < rounds; round += 1) {
        for (const size of sizes) rates.get(size)!.push(await measure(client, witness, size))
      }
      return {
        figures: sizes.map((size) => ({
          label: `${size[0]} workers, ${size[1]} at a time`,
          value: median(rates.get(size)!),
          unit: 'msg/s',
        })),
        ratios: sizes.slice(1).map((size) => {
          const shares = rates.get(size)!.map((rate, round) => rate / rates.get(ONE)![round]! / (size[0] * size[1]))
          const label = `${size[0]} workers, ${size[1]} at a time: share of linear`
          return { label, value: median(shares), target: 0.9, bound: 'at least' as const }
        }),
      }
    } finally {
      await client?.endAsync(true)
      await product?.stop()
      project.remove()
      witness.remove()
      await broker.stop()
    }
  },
}

export default benchmark
