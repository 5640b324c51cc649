import { existsSync } from 'node:fs'
import { isAbsolute, join } from 'node:path'
import type { FieldEvent } from '../modbus/field-event.js'
import { FieldService } from '../modbus/field-service.js'
import type { AssemblyOptions } from './assembly.js'
import { BusLeases } from './bus-leases.js'
import { watchClock } from './clock-watch.js'
import type { LiveFeed } from './live-feed.js'
import { eventEntry, followsFromBus } from './records.js'
import type { Storage } from './storage.js'

/** The buses, and who of several installations owns each. */
export async function startField(
  { config, closers, logger, clock }: AssemblyOptions,
  storage: Storage,
  live: LiveFeed,
  onTaken: (buses: readonly string[]) => void,
) {
  const onEvent = (event: FieldEvent) => {
    live.state(event)
    // What follows from a bus is told with the bus, which names its devices.
    if (!followsFromBus(event)) storage.event(eventEntry(event))
  }
  const stopWatch = watchClock({
    clock,
    onStep: (ms) => {
      const message = `the clock was set ${ms > 0 ? 'forward' : 'back'} by ${Math.abs(ms) / 1_000} s`
      logger.warn({ step_ms: ms }, message)
      storage.event({ kind: 'clock.step', level: 'warn', message, details: { step_ms: ms }, at: clock.now() })
    },
  })
  closers.add('clock', async () => stopWatch())
  const leases = new BusLeases({
    book: storage.leaseBook(),
    owner: config.app.instance,
    neighboursFile: join(config.app.dataDir, 'neighbours.json'),
    // A bus of a serial line is named by its path.
    reachable: (bus) => !isAbsolute(bus) || existsSync(bus),
    onChange: ({ buses, holder, lost, shared }) => {
      if (lost) for (const bus of buses) field.release(bus)
      if (holder.mine) onTaken(buses)
      if (shared || !holder.mine)
        onEvent({ type: 'owner', buses, mine: holder.mine, owner: holder.owner, at: clock.now() })
    },
    logger,
    clock,
  })
  leases.start()
  closers.add('leases', () => leases.stop())
  const field: FieldService = new FieldService({
    config: config.modbus,
    cacheTtlMs: config.poller.cacheTtlMs,
    logger,
    clock,
    audit: storage.writeAudit,
    ownership: leases,
    onEvent,
  })
  await field.start()
  closers.add('field', () => field.stop(config.app.shutdownMs))
  return { field, leases }
}
