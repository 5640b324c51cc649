import { z } from 'zod'
import { deviceIdSchema } from '../../modbus/device-schema.js'
import { RouteMQError } from '../../support/errors.js'
import type { SidecarApp } from '../app.js'
import { clientOf } from '../gate.js'
import { answers } from '../schemas/answers.js'
import type { LiveEvent } from '../services/history.js'
import { present, type RouteContext } from './context.js'

/** A comment line so often keeps proxies from closing a quiet stream. */
const HEARTBEAT_MS = 15_000
/** A reader that lets so many bytes pile up is dropped; it comes back by itself and starts from now. */
const MAX_WAITING_BYTES = 1_048_576
const MAX_STREAMS = 200
/** Of one caller; without a credential, of one address. */
const MAX_STREAMS_EACH = 50
/** What waits for a reader may leave for so long after the end. */
const LAST_BYTES_MS = 1_000

/** Live values and changes of state as server-sent events. Returns what ends all streams. */
export function streamRoutes(app: SidecarApp, { services, clock, logger, readmit }: RouteContext): () => void {
  const open = new Map<() => void, string>()
  let ended = false
  // One event goes to many readers: it becomes text once.
  let last: LiveEvent | undefined
  let lastText = ''
  const textOf = (event: LiveEvent) => {
    if (event !== last) {
      last = event
      lastText = `event: ${event.type}\ndata: ${JSON.stringify(event)}\n\n`
    }
    return lastText
  }

  app.get(
    '/api/stream',
    {
      exposeHeadRoute: false,
      schema: {
        tags: ['history'],
        summary: 'Values and states as they change, as server-sent events',
        description: 'Events `value` and `state`, each with JSON data. A reader that is too slow is dropped.',
        querystring: z.object({
          device_id: deviceIdSchema.optional(),
          type: z.enum(['value', 'state']).optional(),
        }),
        response: answers({
          200: { description: 'Events', content: { 'text/event-stream': { schema: z.string() } } },
        }),
      },
    },
    (request, reply) => {
      const live = present(services.live, 'live values')
      if (ended) throw new RouteMQError('SHUTTING_DOWN', 'the product is stopping')
      const client = clientOf(request)
      refuseOver(open.size, MAX_STREAMS, 'live streams are open')
      refuseOver(
        [...open.values()].filter((each) => each === client).length,
        MAX_STREAMS_EACH,
        'live streams of this caller are open',
      )
      const { device_id, type } = request.query
      const { raw } = reply
      reply.hijack()
      // Gone while its credential was checked: its close, which would end the stream, has been.
      if (raw.destroyed || request.raw.socket.destroyed) return
      raw.writeHead(200, {
        ...(reply.getHeaders() as Record<string, string>),
        'content-type': 'text/event-stream; charset=utf-8',
        'cache-control': 'no-store',
        'x-accel-buffering': 'no',
      })
      raw.write('retry: 2000\n\n')

      const unsubscribe = live((event) => {
        if (device_id !== undefined && event.device_id !== device_id) return
        if (type !== undefined && event.type !== type) return
        raw.write(textOf(event))
        if (raw.writableLength <= MAX_WAITING_BYTES) return
        logger.warn({ request_id: request.id }, 'a reader of the live stream was too slow and has been dropped')
        raw.destroy()
      })
      let cancelBeat = () => {}
      const leave = () => {
        open.delete(end)
        cancelBeat()
        unsubscribe()
      }
      const end = () => {
        // Before its end: a peer that reads nothing keeps the response open, and an event written then is an error.
        leave()
        raw.end()
        // Such a peer would keep the socket, and with it the stop of the sidecar, for ever.
        const insist = clock.after(LAST_BYTES_MS, () => raw.destroy(), { unref: true })
        raw.once('close', insist)
      }
      const beat = () => {
        cancelBeat = clock.after(
          HEARTBEAT_MS,
          () => {
            raw.write(': still here\n\n')
            beat()
            // A stream outlives the credential it was opened with: revoked or expired, it ends here.
            readmit(request, reply).catch(end)
          },
          { unref: true },
        )
      }
      beat()
      open.set(end, client)
      raw.on('close', leave)
      raw.on('error', leave)
    },
  )

  return () => {
    ended = true
    for (const end of open.keys()) end()
  }
}

function refuseOver(streams: number, limit: number, what: string): void {
  if (streams < limit) return
  throw new RouteMQError('THROTTLED', `${streams} ${what}, and more are not served`, { details: { limit } })
}
