import { connectAsync } from 'mqtt'

// Counts what is published under modbus/data, away from the event loop of everybody else.
const counts: Record<string, number> = {}
const latest = new Map<string, number>()
let total = 0
let widestGapS = 0
let nonsense = 0
const PREFIX = 'modbus/data/'

const mqtt = await connectAsync(process.argv[2]!, { protocolVersion: 5 })
mqtt.on('message', (topic, payload) => {
  if (topic.endsWith('/availability')) return
  const name = topic.slice(PREFIX.length)
  const { timestamp, value, values, quality } = JSON.parse(payload.toString()) as Record<string, unknown>
  if (quality === 'bad') return
  total += 1
  counts[name] = (counts[name] ?? 0) + 1
  if (typeof timestamp !== 'number' || (value === undefined && !Array.isArray(values)) || value === null) nonsense += 1
  const before = latest.get(name)
  latest.set(name, timestamp as number)
  if (before !== undefined) widestGapS = Math.max(widestGapS, (timestamp as number) - before)
})
await mqtt.subscribeAsync(`${PREFIX}#`, { qos: 0 })
process.on('message', () => process.send?.({ counts, total, widestGapS, nonsense }))
process.once('disconnect', () => process.exit())
process.send?.('listening')
