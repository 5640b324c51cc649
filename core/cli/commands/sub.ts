import { isTopicFilter } from '../../config/topic-text.js'
import { RouteMQError } from '../../support/errors.js'
import { openBroker } from '../broker-session.js'
import { EXIT } from '../exit-codes.js'
import { integerArgument, qosArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'

interface SubOptions {
  readonly count?: number
  readonly qos: 0 | 1 | 2
  readonly timeout?: number
}

/** `routemq sub FILTER`: prints what is published there, a line a message, until it is stopped. */
export function registerSub({ program, action }: Registry): void {
  program
    .command('sub')
    .description('print the messages of one or more topic filters')
    .argument('<filters...>', 'such as modbus/data/#')
    .option('-C, --count <messages>', 'end after so many', integerArgument(1, Number.MAX_SAFE_INTEGER))
    .option('-q, --qos <qos>', 'quality of service', qosArgument, 1)
    .option('-t, --timeout <seconds>', 'fail when not enough came in this time', integerArgument(1, 86_400))
    .action((filters: string[], { count, qos, timeout }: SubOptions) =>
      action(async (context, json) => {
        for (const filter of filters) {
          if (!isTopicFilter(filter)) throw new RouteMQError('USAGE', `"${filter}" is no MQTT topic filter`)
        }
        const connection = await openBroker(context)
        let seen = 0
        let timer: NodeJS.Timeout | undefined
        try {
          const done = new Promise<number>((resolve, reject) => {
            connection.client.on('message', (topic, payload, packet) => {
              if (seen === count) return
              seen += 1
              context.out(json ? asJson(topic, payload, packet) : `${topic} ${printable(payload)}`)
              if (seen === count) resolve(EXIT.ok)
            })
            context.signal.addEventListener('abort', () => resolve(EXIT.ok), { once: true })
            connection.closed.then(() => reject(new RouteMQError('BROKER_UNAVAILABLE', 'The broker went away.')))
            if (timeout !== undefined) {
              const late = () => new RouteMQError('CALL_TIMEOUT', `${seen} messages came within ${timeout} s.`)
              timer = setTimeout(() => reject(late()), timeout * 1_000)
            }
          })
          // Handled where it is awaited; a refused subscription must not leave it behind.
          done.catch(() => {})
          const granted = await connection.client.subscribeAsync(filters, { qos })
          const refused = granted.filter((one) => one.qos >= 128)
          if (refused.length > 0) {
            const names = refused.map((one) => one.topic).join(', ')
            throw new RouteMQError('SUBSCRIPTION_REFUSED', `The broker refused ${names}.`)
          }
          return await done
        } finally {
          clearTimeout(timer)
          await connection.end()
        }
      }),
    )
}

/** UTF-8 as it is, without control characters; anything else as hexadecimal bytes. */
function printable(payload: Buffer): string {
  const text = payload.toString('utf8')
  return text.includes('\uFFFD') ? `0x${payload.toString('hex')}` : text.replace(/\p{Cc}/gu, '·')
}

function asJson(topic: string, payload: Buffer, packet: { qos: number; retain: boolean }): string {
  const text = payload.toString('utf8')
  const body = text.includes('\uFFFD') ? { payload_base64: payload.toString('base64') } : { payload: text }
  return JSON.stringify({ topic, qos: packet.qos, retain: packet.retain, ...body })
}
