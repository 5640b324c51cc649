import modbusSerial from 'modbus-serial'
import { connectAsync } from 'mqtt'
import { FARM_POINTS, FARM_REGISTERS, Farm, UNITS } from './field-farm.js'

/**
 * What somebody would write in an afternoon: a modbus-serial client an endpoint, a timer a unit, mqtt.js. The same reads
 * and messages as the product's, nothing else: no quality, no store, no queue. Tells its processor time when asked.
 */
const { url, ports, form } = JSON.parse(process.argv[2]!) as { url: string; ports: number[]; form: 'block' | 'points' }
const mqtt = await connectAsync(url, { protocolVersion: 5 })
const words = new DataView(new ArrayBuffer(FARM_REGISTERS * 2))
let reads = 0
let failures = 0

function decode(point: { type: string; address: number; scale?: number; bit?: number }, values: number[]): unknown {
  const at = point.address * 2
  switch (point.type) {
    case 'uint16':
      return words.getUint16(at)
    case 'int16':
      return words.getInt16(at) * (point.scale ?? 1)
    case 'uint32':
      return words.getUint32(at)
    case 'int32':
      return words.getInt32(at)
    case 'float32': {
      const swapped = new DataView(new ArrayBuffer(4))
      swapped.setUint16(0, values[point.address + 1]!)
      swapped.setUint16(2, values[point.address]!)
      return swapped.getFloat32(0)
    }
    case 'float64':
      return words.getFloat64(at)
    case 'uint64':
      return String(words.getBigUint64(at))
    default:
      return ((values[point.address]! >> (point.bit ?? 0)) & 1) === 1
  }
}

for (const [endpoint, port] of ports.entries()) {
  const client = new modbusSerial.default()
  await client.connectTCP(Farm.host(endpoint), { port })
  client.setTimeout(1_000)
  for (let unit = 1; unit <= UNITS; unit += 1) {
    const device = `bare-e${endpoint}u${unit}`
    const poll = () => {
      client.writeFC3(unit, 0, FARM_REGISTERS, (error, answer) => {
        if (error !== null) {
          failures += 1
          return
        }
        const values = (answer as { data: number[] }).data
        const timestamp = Date.now() / 1_000
        reads += 1
        if (form === 'block') {
          const block = {
            device_id: device,
            register_type: 'holding',
            address: 0,
            count: FARM_REGISTERS,
            values,
            timestamp,
          }
          mqtt.publish(`bare/${device}/holding/0`, JSON.stringify(block))
          return
        }
        for (const [at, value] of values.entries()) words.setUint16(at * 2, value)
        for (const point of FARM_POINTS) {
          const value = decode(point, values)
          mqtt.publish(
            `bare/${device}/points/${point.name}`,
            JSON.stringify({ value, unit: null, quality: 'good', timestamp }),
          )
        }
      })
    }
    setTimeout(() => setInterval(poll, 1_000), ((endpoint * UNITS + unit) % 500) * 2)
  }
}
process.on('message', () => {
  const { user, system } = process.cpuUsage()
  process.send?.({ reads, failures, cpuMs: (user + system) / 1_000 })
})
process.once('disconnect', () => process.exit())
process.send?.('running')
