import { appendFileSync, existsSync } from 'node:fs'
import type { PlannedSubscription } from '../../../core/router/route.js'
import type { ToGateway, ToWorker } from '../../../core/workers/protocol.js'
import type { HeldSession } from '../../../core/workers/session-book.js'

/**
 * A worker program that speaks the protocol and nothing else. It appends what it was told to the file in TINY_LOG; the
 * workers named in TINY_FAILS cannot load, the one in TINY_STUCK never has, the one in TINY_HANGS does not stop. TINY_FILTERS
 * has the filters of each by its name, as JSON.
 */
const send = (message: ToGateway) => process.send?.(message)
const note = (line: string) => appendFileSync(process.env.TINY_LOG!, `${process.argv[2]} ${line}\n`)
let sessions: readonly HeldSession[] = []

process.on('disconnect', () => process.exit(1))
process.on('message', (message: ToWorker) => {
  note(message.type)
  switch (message.type) {
    case 'assign': {
      const { slots } = message.assignment
      const name = process.argv[2]!
      note(`slots=${slots}`)
      if (process.env.TINY_FAILS?.split(',').includes(name) === true) {
        send({ type: 'failed', error: { code: 'ROUTER_INVALID', message: 'no such router' } })
        setTimeout(() => process.exit(1), 20)
        return
      }
      if (process.env.TINY_STUCK === name) return
      const filters: Record<string, string[]> = JSON.parse(process.env.TINY_FILTERS ?? '{}')
      const subscriptions = (filters[name] ?? []).map((filter) => ({ filter }) as PlannedSubscription)
      sessions = [{ clientId: `client-${name}`, lane: `${name}/shared`, subscriptions }]
      send({ type: 'loaded' })
      return
    }
    case 'connect':
      // Its broker is away for as long as the file is there.
      if (existsSync(`${process.env.TINY_LOG}.away`)) return
      send({ type: 'ready', sessions })
      return
    case 'stop':
      note(`stop ${message.how}`)
      if (process.env.TINY_HANGS === process.argv[2]) return
      if (message.how === 'leave') send({ type: 'left', clientIds: sessions.map(({ clientId }) => clientId) })
      setTimeout(() => process.exit(0), 10)
      return
    case 'adopt':
      note(`adopt ${message.session.clientId}`)
      return
    case 'credentials':
      // A worker that grows: three readings in a row are over any limit.
      for (let at = 0; at < 3; at += 1) send({ type: 'stats', stats: { memoryMb: 9_999, ages: [] } as never })
      return
    case 'let_go':
      note(`let_go ${message.clientId}`)
      send({ type: 'adopted', clientId: message.clientId, outcome: 'kept' })
      return
    case 'run':
      if (message.message.topic === 'die') process.exit(3)
      send({ type: 'serving', serving: message.force })
      send({ type: 'call', id: 1, method: 'store.unpark', args: [message.message.topic] })
      send({ type: 'ran', id: message.id, outcome: { ok: true, value: message.message.topic } })
      return
  }
})
send({ type: 'online' })
