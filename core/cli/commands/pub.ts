import { randomUUID } from 'node:crypto'
import { InvalidArgumentError } from 'commander'
import type { Connection } from '../../mqtt/connection.js'
import { RouteMQError } from '../../support/errors.js'
import { openBroker } from '../broker-session.js'
import type { CliContext } from '../context.js'
import { EXIT } from '../exit-codes.js'
import { qosArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'

interface PubOptions {
  readonly qos: 0 | 1 | 2
  readonly retain?: boolean
  readonly wait?: number | true
  readonly response?: string
}

/** `routemq pub TOPIC PAYLOAD`: publishes one message, and shows the answer where one is waited for. */
export function registerPub({ program, action }: Registry): void {
  program
    .command('pub')
    .description('publish one message; with --wait, print its answer')
    .argument('<topic>', 'where to')
    .argument('<payload>', 'as it is sent; - reads it from stdin')
    .option('-q, --qos <qos>', 'quality of service', qosArgument, 1)
    .option('-r, --retain', 'let the broker keep it for later subscribers')
    .option('-w, --wait [seconds]', 'wait for the answer (5 seconds)', secondsArgument)
    .option('--response <topic>', 'where the answer comes; implies --wait')
    .action((topic: string, payload: string, options: PubOptions) =>
      action(async (context, json) => {
        checkTopic(topic)
        const bytes = payload === '-' ? await readStdin() : payload
        const connection = await openBroker(context)
        try {
          if (options.wait === undefined && options.response === undefined) {
            await connection.client.publishAsync(topic, bytes, { qos: options.qos, retain: options.retain === true })
            return EXIT.ok
          }
          return await ask(connection, context, topic, bytes, options, json)
        } finally {
          await connection.end()
        }
      }),
    )
}

/** Over MQTT 5 with a response topic of our own, else on `<topic>/response`, told apart by the `request_id`. */
async function ask(
  connection: Connection,
  context: CliContext,
  topic: string,
  bytes: string | Buffer,
  options: PubOptions,
  json: boolean,
): Promise<number> {
  const { client, protocol } = connection
  const waitMs = (typeof options.wait === 'number' ? options.wait : 5) * 1_000
  const id = randomUUID()
  const own = protocol === 5 && options.response === undefined
  const responseTopic = options.response ?? (own ? `routemq/reply/cli-${id}` : `${topic}/response`)
  const requestId = requestIdOf(bytes)
  await client.subscribeAsync(responseTopic, { qos: 1 })

  const answered = new Promise<string>((resolve, reject) => {
    const late = () =>
      new RouteMQError('CALL_TIMEOUT', `No answer on ${responseTopic} within ${waitMs / 1_000} s.`, {
        details: { topic, responseTopic },
      })
    const timer = setTimeout(() => reject(late()), waitMs)
    const settle = (run: () => void) => {
      clearTimeout(timer)
      run()
    }
    const ended = () =>
      new RouteMQError(
        'REQUEST_CANCELLED',
        `Ended before an answer came on ${responseTopic}; the message was published.`,
      )
    context.signal.addEventListener('abort', () => settle(() => reject(ended())), { once: true })
    client.on('message', (_, payload, packet) => {
      if (packet.retain) return
      const text = payload.toString('utf8')
      const ours =
        packet.properties?.correlationData?.toString() === id ||
        (packet.properties?.correlationData === undefined &&
          (requestId === undefined || requestIdOf(text) === requestId))
      if (ours) settle(() => resolve(text))
    })
    connection.closed.then(() => settle(() => reject(new RouteMQError('BROKER_UNAVAILABLE', 'The broker went away.'))))
  })
  // Handled where it is awaited; a failing publish must not leave it behind.
  answered.catch(() => {})
  const properties = protocol === 5 ? { properties: { responseTopic, correlationData: Buffer.from(id) } } : {}
  await client.publishAsync(topic, bytes, { qos: options.qos, retain: options.retain === true, ...properties })
  const answer = await answered
  const body = parse(answer)
  context.out(json || body === undefined ? answer : JSON.stringify(body, null, context.terminal ? 2 : 0))
  return typeof body === 'object' && body !== null && 'error' in body ? EXIT.refused : EXIT.ok
}

function checkTopic(topic: string): void {
  if (topic === '') throw new RouteMQError('USAGE', 'The topic is empty.')
  if (/[+#\0]/.test(topic)) {
    throw new RouteMQError('USAGE', `"${topic}" is no topic to publish on: it must not hold + or #`)
  }
}

function secondsArgument(text: string): number {
  const seconds = Number(text)
  if (Number.isFinite(seconds) && seconds > 0 && seconds <= 3_600) return seconds
  throw new InvalidArgumentError('Want seconds, more than 0 and at most 3600.')
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined // A text payload: it is shown as it is.
  }
}

function requestIdOf(bytes: string | Buffer): unknown {
  const body = parse(bytes.toString())
  return typeof body === 'object' && body !== null && 'request_id' in body ? body.request_id : undefined
}

async function readStdin(): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of process.stdin) chunks.push(Buffer.from(chunk))
  return Buffer.concat(chunks)
}
