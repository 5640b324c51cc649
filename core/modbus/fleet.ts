import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Bus, type BusOptions, type BusState } from './bus/bus.js'
import type { ConnectGate } from './bus/connect-gate.js'
import { busSettingsOf } from './bus-settings.js'
import type { ReadCache } from './cache.js'
import { Device } from './device.js'
import type { DeviceRecord } from './device-record.js'
import { busConflict, busIdOf, devicesByBus, endpointOf, sameEndpoint } from './endpoint.js'
import type { DeviceState, FieldEvent } from './field-event.js'
import type { RequestCounter } from './field-metrics.js'
import type { BusHolder, BusOwnership } from './ownership.js'
import { ProbeBudget } from './quarantine.js'
import type { EchoState } from './transport/line-echo.js'
import type { BusEndpoint } from './transport/transport.js'

export interface FleetOptions {
  readonly clock: Clock
  readonly random: () => number
  readonly logger: Logger
  readonly cache: ReadCache
  readonly counter: RequestCounter
  readonly gate: ConnectGate
  readonly breaker: { readonly failures: number; readonly recoveryMs: number }
  readonly createTransport: BusOptions['createTransport']
  readonly emit: (event: FieldEvent) => void
  /** Who may open which bus. @default everything is ours */
  readonly ownership?: BusOwnership | undefined
}

/** A device that is active: in use, or kept out because its bus is used in another way. */
export type KnownDevice = { readonly record: DeviceRecord; readonly bus: string } & (
  | { readonly device: Device }
  | { readonly conflict: RouteMQError }
)

/** A row of `/api/devices/gateways`. */
export interface GatewayStatus {
  readonly id: string
  readonly host: string | null
  readonly port: number | null
  readonly path: string | null
  readonly kind: BusEndpoint['kind']
  readonly connected: boolean
  /** `standby`: another installation owns the bus, and this one does not open it. */
  readonly state: BusState['name'] | 'standby'
  /** Why it is down, or stood by for. */
  readonly cause: string | null
  /** Instance that owns the bus; null where none is known, or where there is only this one. */
  readonly owner: string | null
  readonly devices: readonly string[]
  readonly in_flight: number
  readonly queued: number
  readonly round_trip_ms: number | null
  /** Whether the line gives back what is sent to it, which is then taken out; null where frames carry ids. */
  readonly echo: EchoState | null
  /** What people should know about it, by a code and in words. */
  readonly notice: string | null
}

interface Line {
  readonly bus: Bus
  readonly probes: ProbeBudget
  readonly devices: Set<string>
  /** A connect failed and no connection has proved itself since. */
  isAway: boolean
}

/** Which devices there are and on which buses; changes one without touching the others. */
export class Fleet {
  readonly #options: FleetOptions
  readonly #lines = new Map<string, Line>()
  readonly #known = new Map<string, KnownDevice>()
  readonly #inactive = new Set<string>()
  /** By id: buses on their way out, which may hold their line a little longer. */
  readonly #leaving = new Map<string, Promise<unknown>>()

  constructor(options: FleetOptions) {
    this.#options = options
  }

  devices(): KnownDevice[] {
    return [...this.#known.values()]
  }

  /** @throws RouteMQError DEVICE_UNKNOWN, DEVICE_INACTIVE or BUS_CONFLICT. */
  device(id: string): Device {
    const known = this.#known.get(id)
    if (known !== undefined && 'device' in known) return known.device
    if (known !== undefined) throw known.conflict
    const details = { device_id: id }
    if (this.#inactive.has(id)) throw new RouteMQError('DEVICE_INACTIVE', `Device ${id} is not active`, { details })
    throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${id}`, { details })
  }

  find(id: string): Device | undefined {
    const known = this.#known.get(id)
    return known !== undefined && 'device' in known ? known.device : undefined
  }

  /** Who has a bus; undefined where nothing shares buses. */
  holder(bus: string): BusHolder | undefined {
    return this.#options.ownership?.holder(bus)
  }

  /** Closes a bus that another installation owns now. Its devices stay known and begin anew when it comes back. */
  release(id: string): void {
    const line = this.#lines.get(id)
    if (line === undefined) return
    this.#lines.delete(id)
    this.#closeLater(line)
    const records = [...line.devices].map((device) => this.#known.get(device)!.record)
    for (const { device_id } of records) {
      this.find(device_id)?.health.retire()
      this.#known.delete(device_id)
    }
    for (const record of records) this.#add(record, records)
    this.#lines.get(id)?.bus.configure(busSettingsOf(records))
    const at = this.#options.clock.now()
    for (const { device_id } of records)
      this.#options.emit({ type: 'device', device_id, state: { name: 'unknown' }, at })
  }

  /** Undefined where the bus of the device is no longer there. */
  probesOf(device: Device): ProbeBudget | undefined {
    const line = this.#lines.get(device.bus.id)
    return line?.bus === device.bus ? line.probes : undefined
  }

  gateways(): GatewayStatus[] {
    return [...this.#lines.values()].map(({ bus, devices }) => {
      const { endpoint, state } = bus
      const holder = this.holder(bus.id)
      return {
        id: bus.id,
        host: 'host' in endpoint ? endpoint.host : null,
        port: 'port' in endpoint ? endpoint.port : null,
        path: 'path' in endpoint ? endpoint.path : null,
        kind: endpoint.kind,
        connected: state.name === 'open',
        state: holder?.mine === false ? 'standby' : state.name,
        cause: holder?.mine === false ? holder.reason : state.name === 'down' ? state.cause : null,
        owner: holder?.owner ?? null,
        devices: [...devices],
        in_flight: bus.inFlight,
        queued: bus.queued,
        round_trip_ms: bus.roundTrips.ms === undefined ? null : Math.round(bus.roundTrips.ms * 1_000) / 1_000,
        echo: bus.echo?.state ?? null,
        notice: bus.echo?.notice ?? null,
      }
    })
  }

  apply(records: readonly DeviceRecord[]): void {
    this.#inactive.clear()
    const active = records.filter((record) => record.is_active)
    for (const record of records) if (!record.is_active) this.#inactive.add(record.device_id)
    const wanted = new Map(active.map((record) => [record.device_id, record]))
    for (const [id, known] of this.#known) {
      const record = wanted.get(id)
      if (record === undefined || !sameRecord(known.record, record)) this.#remove(id, record === undefined)
    }
    const byBus = devicesByBus(active)
    this.#dropUnwantedBuses(byBus)
    for (const record of active) if (!this.#known.has(record.device_id)) this.#add(record, active)
    for (const [id, line] of this.#lines) line.bus.configure(busSettingsOf(byBus.get(id) ?? []))
  }

  async stop(deadlineMs: number): Promise<void> {
    const lines = [...this.#lines.values()]
    await Promise.all([...lines.map(({ bus }) => bus.stop(deadlineMs)), ...this.#leaving.values()])
  }

  /** The first device of a bus says how it is used; one that disagrees is kept out, loudly. */
  #add(record: DeviceRecord, active: readonly DeviceRecord[]): void {
    const id = record.device_id
    const bus = busIdOf(record)
    const endpoint = endpointOf(record)
    const line = this.#lines.get(bus) ?? this.#open(bus, endpoint)
    if (!sameEndpoint(line.bus.endpoint, endpoint)) {
      const other = active.find((one) => line.devices.has(one.device_id)) ?? record
      const conflict = busConflict(record, other, bus)
      this.#known.set(id, { record, bus, conflict })
      this.#options.logger.error({ device_id: id, bus, err: conflict }, 'device cannot be used')
      return
    }
    const { clock, cache, counter, breaker } = this.#options
    const device = new Device(record, {
      bus: line.bus,
      cache,
      clock,
      counter,
      breaker,
      probes: line.probes,
      isAlone: () => line.devices.size === 1,
      isBusAway: () => line.isAway,
      onState: (state, before) => this.#deviceChanged(id, state, before),
      onBreaker: (state) => this.#breakerChanged(id, state),
    })
    this.#known.set(id, { record, bus, device })
    line.devices.add(id)
    if (line.isAway) device.health.busChanged(false)
  }

  #remove(id: string, forGood: boolean): void {
    const known = this.#known.get(id)
    if (known === undefined) return
    this.#known.delete(id)
    if ('device' in known) known.device.health.retire()
    const line = this.#lines.get(known.bus)
    line?.devices.delete(id)
    line?.probes.forget(id)
    this.#options.cache.clear(id)
    if (forGood) this.#options.emit({ type: 'device_removed', device_id: id, at: this.#options.clock.now() })
  }

  /** A bus without devices, or one whose devices all want it otherwise, is closed. */
  #dropUnwantedBuses(byBus: ReadonlyMap<string, readonly DeviceRecord[]>): void {
    for (const [id, line] of this.#lines) {
      const users = byBus.get(id) ?? []
      const isWanted =
        line.devices.size > 0 || users.some((record) => sameEndpoint(endpointOf(record), line.bus.endpoint))
      if (isWanted) continue
      this.#lines.delete(id)
      this.#closeLater(line)
      // Devices kept out by the old use of the bus get their chance.
      for (const record of users) this.#known.delete(record.device_id)
    }
  }

  #closeLater({ bus }: Line): void {
    const { id } = bus
    const closing = Promise.all([this.#leaving.get(id), bus.stop(2_000)]).finally(() => {
      if (this.#leaving.get(id) === closing) this.#leaving.delete(id)
    })
    this.#leaving.set(id, closing)
  }

  #open(id: string, endpoint: BusEndpoint): Line {
    const { clock, random, gate, createTransport } = this.#options
    const host = 'host' in endpoint ? endpoint.host.toLowerCase() : endpoint.path
    const bus = new Bus({
      id,
      endpoint,
      settings: busSettingsOf([]),
      createTransport,
      clock,
      random,
      claimConnect: () => gate.claim(host),
      predecessor: this.#leaving.get(id),
      // One that is on its way out does not speak for the next of its name.
      onState: (state) => this.#lines.get(id)?.bus === bus && this.#busChanged(id, state),
      onEcho: (state) => this.#lines.get(id)?.bus === bus && this.#echoChanged(id, state),
    })
    const line: Line = { bus, probes: new ProbeBudget(), devices: new Set(), isAway: false }
    this.#lines.set(id, line)
    return line
  }

  /** One event when a bus goes away and one when it is back; its devices follow from it. */
  #busChanged(id: string, state: BusState): void {
    const line = this.#lines.get(id)
    if (line === undefined) return
    const { clock, logger, emit } = this.#options
    const devices = [...line.devices]
    if (state.name === 'down' && state.failedConnects > 0 && !line.isAway) {
      line.isAway = true
      logger.warn({ bus: id, devices, cause: state.cause }, 'bus is away')
      emit({ type: 'bus', bus: id, state: 'down', cause: state.cause, devices, at: clock.now() })
      for (const device of devices) this.find(device)?.health.busChanged(false)
    } else if (state.name === 'open' && state.isProven && line.isAway) {
      line.isAway = false
      logger.info({ bus: id, devices }, 'bus is back')
      emit({ type: 'bus', bus: id, state: 'up', devices, at: clock.now() })
      for (const device of devices) this.find(device)?.health.busChanged(true)
    } else if (state.name === 'down' && state.failedConnects === 0) {
      logger.debug({ bus: id, cause: state.cause }, 'connection broke')
    }
  }

  #echoChanged(id: string, state: EchoState): void {
    const { logger } = this.#options
    const notice = this.#lines.get(id)?.bus.echo?.notice
    if (notice === undefined) logger.debug({ bus: id, echo: state }, 'what the line gives back is known')
    else logger.warn({ bus: id, code: 'LINE_ECHO', echo: state }, notice)
  }

  #deviceChanged(id: string, state: DeviceState, before: DeviceState): void {
    const { clock, logger, emit } = this.#options
    emit({ type: 'device', device_id: id, state, at: clock.now() })
    const known = this.#known.get(id)
    if (known !== undefined && state.name === 'online') this.#lines.get(known.bus)?.probes.forget(id)
    // What follows from the bus was said once, for the bus.
    if (isSilent(before) && state.name === 'online') logger.info({ device_id: id }, 'device answers again')
    else if (isSilent(state)) logger.warn({ device_id: id }, 'device does not answer')
  }

  #breakerChanged(id: string, state: 'open' | 'closed'): void {
    const { clock, logger, emit } = this.#options
    emit({ type: 'breaker', device_id: id, state, at: clock.now() })
    logger.debug({ device_id: id, breaker: state }, 'breaker changed')
  }
}

function isSilent(state: DeviceState): boolean {
  return state.name === 'offline' && state.reason === 'silent'
}

/** Times of change apart: a record that was only touched disturbs nothing. */
function sameRecord(a: DeviceRecord, b: DeviceRecord): boolean {
  const plain = ({ created_at: _c, updated_at: _u, ...rest }: DeviceRecord) => JSON.stringify(rest)
  return a === b || plain(a) === plain(b)
}
