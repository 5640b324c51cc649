import type { Config } from '../config/config.js'
import type { Logger } from '../observability/logger.js'
import { type Clock, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { expectManyListeners } from '../support/many-listeners.js'
import { ConnectGate } from './bus/connect-gate.js'
import { type CacheMetrics, ReadCache } from './cache.js'
import type { Device } from './device.js'
import type { DeviceRecord } from './device-record.js'
import type { Actor, FieldPort, FieldRequest, FieldResponse, ReadBlock } from './field.js'
import type { FieldEvent } from './field-event.js'
import { type ModbusMetrics, RequestCounter } from './field-metrics.js'
import { FieldPolling, type PollPort } from './field-polling.js'
import { readBlock, readPoints } from './field-reads.js'
import { Fleet, type FleetOptions, type GatewayStatus } from './fleet.js'
import { identify } from './identify.js'
import { type BusOwnership, standbyError } from './ownership.js'
import type { Patience } from './patience.js'
import { createTransport as openTransport } from './transport/open.js'
import type { WriteAudit } from './write-audit.js'
import { MAX_WRITE_ITEMS, writeLimitsOf } from './write-item.js'
import { WriteSwitches } from './write-switches.js'
import { Writer } from './writer.js'

export interface FieldServiceOptions {
  readonly config: Config['modbus']
  readonly cacheTtlMs: number
  readonly logger: Logger
  /** @default systemClock */
  readonly clock?: Clock
  /** @default Math.random */
  readonly random?: () => number
  /** @default real sockets and serial ports */
  readonly createTransport?: FleetOptions['createTransport']
  /** Every write and every refusal, item by item; awaited before the caller gets its answer. */
  readonly audit?: WriteAudit
  /** Buses, devices and breakers that changed their state. */
  readonly onEvent?: (event: FieldEvent) => void
  /** Which buses this process may open, where several installations share them. @default all */
  readonly ownership?: BusOwnership
}

/** Who asked, where a caller did not say. */
const UNNAMED: Actor = { kind: 'app', name: 'application' }

/** A row of `/api/devices`. */
export interface DeviceStatus {
  readonly device_id: string
  readonly host: string | null
  readonly port: number | null
  readonly slave_id: number
  readonly timeout: number
  /** Id of the bus. */
  readonly gateway: string
  /** `standby`: another installation owns the bus. */
  readonly state: 'unknown' | 'online' | 'offline' | 'conflict' | 'standby'
  readonly reason?: string
  readonly breaker: 'closed' | 'open' | 'half_open'
  readonly quarantined: boolean
  readonly write_enabled: boolean
}

/**
 * The owner of all buses of this process and the one way to its devices. `apply()` makes devices known, live; requests
 * may come from `start()` to `stop()`.
 */
export class FieldService implements FieldPort {
  readonly cache: ReadCache
  /** The poller's entry. */
  readonly polling: PollPort
  /** `write_enabled` of the system and of single buses, live; devices have theirs in the record. */
  readonly writes: WriteSwitches
  readonly #clock: Clock
  readonly #counter = new RequestCounter()
  readonly #fleet: Fleet
  readonly #ownership: BusOwnership | undefined
  readonly #writer: Writer
  readonly #listeners = new Set<(event: FieldEvent) => void>()
  #stopping: Promise<void> | undefined

  constructor(options: FieldServiceOptions) {
    const { config, logger, clock = systemClock, random = Math.random, onEvent, audit = () => {} } = options
    this.#clock = clock
    this.#ownership = options.ownership
    this.cache = new ReadCache({ ttlMs: options.cacheTtlMs, clock })
    this.writes = new WriteSwitches(config.writeEnabled)
    if (onEvent !== undefined) this.#listeners.add(onEvent)
    this.#fleet = new Fleet({
      clock,
      random,
      logger,
      cache: this.cache,
      counter: this.#counter,
      gate: new ConnectGate(clock),
      breaker: config.breaker,
      createTransport:
        options.createTransport ??
        ((endpoint, settings, echo) => openTransport(endpoint, { clock, logger, copyMs: settings.copyGraceMs, echo })),
      emit: (event) => {
        for (const listener of this.#listeners) listener(event)
      },
      ownership: options.ownership,
    })
    this.polling = new FieldPolling({ fleet: this.#fleet, clock, subscribe: (listener) => this.subscribe(listener) })
    const refusal = (device: Device) => this.#writeRefusal(device)
    this.#writer = new Writer({ cache: this.cache, clock, logger, refusal, audit })
  }

  /** Buses connect when they are first asked; there is nothing to wait for. */
  async start(): Promise<void> {
    if (this.#stopping !== undefined) throw this.#gone()
  }

  /** Refuses what waits, lets what is on a wire finish for at most `deadlineMs`, closes every connection with FIN. */
  stop(deadlineMs = 5_000): Promise<void> {
    this.#stopping ??= this.#fleet.stop(deadlineMs)
    return this.#stopping
  }

  /** Makes these the known devices: adds, changes, removes, and leaves alone what stays as it was. */
  apply(devices: readonly DeviceRecord[]): void {
    if (this.#stopping !== undefined) return
    // First: a write that waits goes out under the rules it will find.
    this.writes.follow(devices)
    this.#fleet.apply(devices)
  }

  /** Closes a bus that another installation owns now. Requests that wait for it end unsent. */
  release(bus: string): void {
    if (this.#stopping === undefined) this.#fleet.release(bus)
  }

  /** Calls back on every change of state. Returns what ends that. */
  subscribe(listener: (event: FieldEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => {
      this.#listeners.delete(listener)
    }
  }

  async request<R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>> {
    expectManyListeners(signal)
    return (await this.#answer(request, signal)) as FieldResponse<R>
  }

  devices(): DeviceStatus[] {
    return this.#fleet.devices().map((known) => {
      const { record } = known
      const base = {
        device_id: record.device_id,
        host: record.host,
        port: record.port,
        slave_id: record.slave_id,
        timeout: record.timeout,
        gateway: known.bus,
      }
      if (!('device' in known)) {
        const idle = { breaker: 'closed', quarantined: false, write_enabled: false } as const
        return { ...base, ...idle, state: 'conflict', reason: known.conflict.message }
      }
      const { device } = known
      const { state, breaker, quarantine } = device.health
      const holder = this.#fleet.holder(known.bus)
      return {
        ...base,
        state: holder?.mine === false ? 'standby' : state.name,
        ...(holder?.mine === false
          ? { reason: holder.reason }
          : state.name === 'offline'
            ? { reason: state.reason }
            : {}),
        breaker: breaker.state.name,
        quarantined: quarantine.active,
        write_enabled: this.writes.refusal(device) === undefined,
      }
    })
  }

  /** Bus and unit of a device, as the cache names them; undefined for one that is not known. */
  spaceOf(deviceId: string): string | undefined {
    return this.#fleet.find(deviceId)?.space
  }

  gateways(): (GatewayStatus & { readonly write_enabled: boolean })[] {
    return this.#fleet.gateways().map((bus) => ({ ...bus, write_enabled: this.writes.busEnabled(bus.id) }))
  }

  /** `modbus` and `cache` of `/api/metrics`. */
  metrics(): { readonly modbus: ModbusMetrics; readonly cache: CacheMetrics } {
    return { modbus: this.#counter.metrics(), cache: this.cache.metrics() }
  }

  resetMetrics(): void {
    this.#counter.reset()
    this.cache.resetMetrics()
  }

  async #answer(request: FieldRequest, signal: AbortSignal | undefined): Promise<unknown> {
    const patience = { deadline: this.#monotonicDeadline(request.deadline), signal }
    if (this.#stopping !== undefined) throw await this.#refused(request, this.#gone(), patience)
    switch (request.op) {
      case 'read': {
        const { device_id, register_type, address, count, source, allow_stale } = request
        const block: ReadBlock = { device_id, register_type, address, count }
        return readBlock(await this.#ours(device_id), this.cache, block, { ...patience, source, allow_stale })
      }
      case 'read_points': {
        const { source, allow_stale } = request
        const device = await this.#ours(request.device_id)
        const how = { ...patience, source, allow_stale, clock: this.#clock }
        return { device_id: device.id, points: await readPoints(device, this.cache, request.points, how) }
      }
      case 'identify':
        return identify(await this.#ours(request.device_id), patience)
      case 'write': {
        if (request.items.length > MAX_WRITE_ITEMS) throw await this.#tooMany(request, patience)
        let device: Device
        try {
          device = await this.#ours(request.device_id)
        } catch (error) {
          throw error instanceof RouteMQError ? await this.#refused(request, error, patience) : error
        }
        const order = { items: request.items, actor: request.actor ?? UNNAMED, patience }
        return { device_id: device.id, results: await this.#writer.write(device, order) }
      }
      default:
        request satisfies never
        throw new RouteMQError('REQUEST_INVALID', `There is no operation ${String((request as { op: unknown }).op)}`)
    }
  }

  /** Refused as one: the audit tells it by the first of its items. */
  async #tooMany(request: Extract<FieldRequest, { op: 'write' }>, patience: Patience): Promise<RouteMQError> {
    const { device_id, items } = request
    const message = `A write takes at most ${MAX_WRITE_ITEMS} items, got ${items.length}`
    const details = { device_id, items: items.length, max: MAX_WRITE_ITEMS }
    const error = new RouteMQError('REQUEST_INVALID', message, { details })
    await this.#refused({ ...request, items: items.slice(0, 1) }, error, patience)
    return error
  }

  /** A refusal before there is a device to ask: that of a write is audited like any other. */
  async #refused(request: FieldRequest, error: RouteMQError, patience: Patience): Promise<RouteMQError> {
    if (request.op !== 'write') return error
    const order = { items: request.items, actor: request.actor ?? UNNAMED, patience }
    return this.#writer.refuse(request.device_id, order, error)
  }

  /** A device on a bus that this process may open. @throws RouteMQError BUS_STANDBY, and those of an unknown device. */
  async #ours(id: string): Promise<Device> {
    const ownership = this.#ownership
    let device = this.#fleet.device(id)
    if (ownership === undefined) return device
    const decision = ownership.decided(device.bus.id)
    if (decision !== undefined) {
      await decision
      device = this.#fleet.device(id)
    }
    const holder = ownership.holder(device.bus.id)
    if (!holder.mine) throw standbyError(device.bus.id, id, holder)
    return device
  }

  /** Why a write that waited may not go out now: what counts is the record as it is, not as it was when asked. */
  #writeRefusal(device: Device): string | undefined {
    const current = this.#fleet.find(device.id)
    if (current === undefined) return `Device ${device.id} was taken out of use while the write waited`
    if (current.space !== device.space)
      return `Device ${device.id} was moved to another bus or unit while the write waited`
    const holder = this.#fleet.holder(current.bus.id)
    if (holder?.mine === false)
      return `Bus ${current.bus.id} went to another installation while the write waited: ${holder.reason}`
    if (!sameWriteRules(current, device)) return `Device ${device.id} was changed while the write waited; ask again`
    return this.writes.refusal(current)
  }

  /** Wall clock deadlines become monotonic at the door, so that a clock step moves none of them. */
  #monotonicDeadline(deadline: number | undefined): number | undefined {
    return deadline === undefined ? undefined : this.#clock.monotonic() + (deadline - this.#clock.now())
  }

  #gone(): RouteMQError {
    return new RouteMQError('SHUTTING_DOWN', 'The field side is being stopped')
  }
}

/** Whether what was checked against one record of a device would be checked alike against the other. */
function sameWriteRules(a: Device, b: Device): boolean {
  if (a === b) return true
  const rules = ({ record, options }: Device) =>
    JSON.stringify([record.points, record.raw_write, writeLimitsOf(options), options.min_interval_ms])
  return rules(a) === rules(b)
}
