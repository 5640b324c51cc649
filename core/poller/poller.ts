import type { Config } from '../config/config.js'
import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import type { PollPort } from '../modbus/field-polling.js'
import type { ValuePublisher } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import { type Clock, sleep, systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { Alarms } from './alarms.js'
import { Availability } from './availability.js'
import { type BusLoad, busLoad, busLoads, refuseOverload, refuseUnanswerable, withTarget } from './bus-load.js'
import { type DevicePlan, planOfDevice } from './device-plan.js'
import { type FieldChange, FieldChanges } from './field-changes.js'
import { Grid } from './grid.js'
import { Keeping } from './keeping.js'
import { type Phase, Phases } from './phases.js'
import { PollGroup } from './poll-group.js'
import { PollCounter, type PollingMetrics } from './poll-metrics.js'
import { Publishing } from './publishing.js'
import { type RetainedStore, RetainedTopics } from './retained-topics.js'
import type { SampleSink } from './sample.js'
import type { TargetResult } from './target-output.js'
import { type TriggerBook, TriggerMemory } from './trigger-memory.js'

export interface PollerOptions {
  /** `fieldService.polling`. */
  readonly field: PollPort
  readonly publisher: ValuePublisher
  readonly sink?: SampleSink
  /** Without it each trigger makes a record after each start. */
  readonly triggers?: TriggerBook
  /** Without it what is removed or renamed while the process does not run stays retained at the broker. */
  readonly retained?: RetainedStore
  /** False while the targets and devices are not all there are: then nothing is cleared. @default always */
  readonly isComplete?: () => boolean
  readonly config: Config['poller']
  /** @default modbus/data, from the configuration */
  readonly topicPrefix: string
  readonly logger: Logger
  /** @default systemClock */
  readonly clock?: Clock
  /** Whether this process polls a bus just now. @default yes */
  readonly isLeader?: (bus: string) => boolean
  /** Watched fields that changed; they are published too. */
  readonly onChange?: (change: FieldChange) => void
}

export interface PollerStatus {
  readonly running: boolean
  readonly targets: number
  readonly groups: readonly {
    readonly device_id: string
    readonly interval_ms: number
    readonly phase_ms: number
    readonly targets: readonly number[]
    readonly reads: number
    readonly last_slot: number | null
  }[]
  readonly buses: readonly BusLoad[]
}

interface Entry {
  readonly deviceId: string
  readonly intervalMs: number
  readonly phase: Phase
  readonly group: PollGroup
  grid: Grid | undefined
  lastSlot: number | null
  isDropped: boolean
}

/** What was asked for before a stop may be answered for so long. */
const LAST_READS_MS = 500
/** Reads every target on a fixed grid, publishes, and hands samples to the sink. Changes live by `apply`. */
export class Poller {
  readonly #options: PollerOptions
  #config: Config['poller']
  readonly #clock: Clock
  readonly #alarms: Alarms
  readonly #counter = new PollCounter()
  readonly #triggers: TriggerMemory
  readonly #changes = new FieldChanges()
  readonly #publishing: Publishing
  readonly #keeping: Keeping
  readonly #retained: RetainedTopics
  readonly #availability: Availability
  readonly #entries = new Map<string, Entry>()
  readonly #phases = new Phases()
  #isStopping = false
  #unsubscribe = () => {}
  /** Cuts off what is still being read. */
  readonly #stopped = new AbortController()
  #devices = new Set<string>()
  #origin: number | undefined

  constructor(options: PollerOptions) {
    this.#options = options
    this.#config = options.config
    this.#clock = options.clock ?? systemClock
    this.#alarms = new Alarms(this.#clock)
    const { field, topicPrefix, publisher, logger } = options
    this.#triggers = new TriggerMemory(options.triggers)
    this.#publishing = new Publishing(publisher, this.#counter, logger)
    this.#keeping = new Keeping(options.sink, this.#counter, logger)
    this.#retained = new RetainedTopics({
      publish: (topic) => this.#publishing.one({ topic, payload: '', options: { qos: 1, retain: true } }),
      store: options.retained,
      clock: this.#clock,
    })
    this.#availability = new Availability({
      field,
      topicPrefix,
      clock: this.#clock,
      publish: (message) => void this.#publishing.one(message),
      speaks: (deviceId) => this.#leads(deviceId),
    })
  }

  start(): void {
    if (this.#origin !== undefined || this.#isStopping) return
    this.#origin = this.#clock.monotonic()
    this.#retained.start()
    this.#availability.start()
    this.#unsubscribe = this.#options.field.subscribe((event) => {
      if (event.type !== 'device' || event.state.name !== 'online') return
      for (const { deviceId, group } of this.#entries.values()) if (deviceId === event.device_id) group.deviceIsBack()
    })
    for (const entry of this.#entries.values()) this.#run(entry)
  }

  /**
   * Ends the grid. What is on the wire may still be answered and kept; what is not there after half a second is cut off and
   * leads to nothing. Resolves when the sink has what was read.
   */
  async stop(): Promise<void> {
    if (this.#isStopping) return
    this.#isStopping = true
    this.#unsubscribe()
    const isRunning = this.#origin !== undefined
    const slots = Promise.all([...this.#entries.values()].map((entry) => entry.grid?.stop()))
    const cutOff = new AbortController()
    await Promise.race([slots, sleep(LAST_READS_MS, cutOff.signal, this.#clock).catch(() => {})])
    cutOff.abort()
    this.#stopped.abort(new RouteMQError('SHUTTING_DOWN', 'The poller is being stopped'))
    await this.#keeping.settled()
    this.#retained.stop()
    if (isRunning) this.#availability.stop()
  }

  /** Takes another generation of the settings; it holds from the next {@link apply} on. */
  configure(config: Config['poller']): void {
    this.#config = config
  }

  /** Makes these the targets that are polled; what stays as it was goes on undisturbed. Devices first to the field. */
  apply(targets: readonly TargetRecord[], devices: readonly DeviceRecord[]): void {
    this.#devices = new Set(devices.filter((device) => device.is_active).map((device) => device.device_id))
    this.#availability.apply([...this.#devices])
    // Also of those that are not polled just now: they may be again.
    this.#triggers.keep(new Set(targets.map(({ id }) => id)))
    this.#changes.keep(targets)
    const wanted = new Map<string, TargetRecord[]>()
    if (this.#config.enabled) {
      for (const target of targets) {
        if (!target.is_active || !this.#devices.has(target.device_id)) continue
        const key = `${this.#intervalOf(target)}/${target.device_id}`
        const group = wanted.get(key)
        if (group === undefined) wanted.set(key, [target])
        else group.push(target)
      }
    }
    for (const [key, entry] of this.#entries) if (!wanted.has(key)) this.#drop(key, entry)
    for (const [key, group] of wanted) this.#place(key, group)
    const retained = [...this.#entries.values()].flatMap(({ group }) => group.topicsToRetain())
    const { isComplete = () => true } = this.#options
    this.#retained.want(new Set([...retained, ...this.#availability.topics()]), isComplete())
  }

  /** These buses are this installation's now: until then another may have polled them, and published what they said. */
  tookOver(buses: readonly string[]): void {
    const { field } = this.#options
    const isTaken = (deviceId: string) => buses.includes(field.busOf(deviceId) ?? '')
    this.#triggers.askAgain(isTaken)
    for (const { deviceId, group } of this.#entries.values()) if (isTaken(deviceId)) group.forget()
  }

  /**
   * The predicted load of a target's bus with that target on it (instead of its older self).
   *
   * @throws RouteMQError BUS_LOAD_REFUSED over 100 %, or where an answer cannot arrive in time, unless forced; DEVICE_*
   * where the device cannot be polled.
   */
  checkTarget(target: TargetRecord, options: { readonly force?: boolean } = {}): BusLoad {
    const { field } = this.#options
    const intervalMs = this.#intervalOf(target)
    const bus = field.busOf(target.device_id) ?? ''
    const reads = field.plan(target.device_id, [target], intervalMs)
    const load = busLoad(field, bus, withTarget(field, this.#groups(), target, intervalMs))
    if (options.force === true || !target.is_active) return load
    refuseUnanswerable(field, reads, intervalMs)
    refuseOverload(load, target.device_id, intervalMs)
    return load
  }

  targets(): TargetRecord[] {
    return this.#groups().flatMap(({ targets }) => [...targets])
  }

  metrics(): PollingMetrics {
    return this.#counter.metrics()
  }

  resetMetrics(): void {
    this.#counter.reset()
  }

  status(): PollerStatus {
    const { field } = this.#options
    const groups = this.#groups()
    return {
      running: this.#origin !== undefined && !this.#isStopping,
      targets: this.targets().length,
      groups: [...this.#entries.values()].map(({ deviceId, intervalMs, phase, group, lastSlot }) => ({
        device_id: deviceId,
        interval_ms: intervalMs,
        phase_ms: Math.round(phase.ms),
        targets: group.targets.map((target) => target.id),
        reads: group.plan().length,
        last_slot: lastSlot,
      })),
      buses: busLoads(field, groups),
    }
  }

  /** How a device is polled just now. @throws RouteMQError DEVICE_UNKNOWN where it is not active or not there */
  plan(deviceId: string): DevicePlan {
    return planOfDevice(this.#options.field, this.#groups(), deviceId)
  }

  #groups(): PollGroup[] {
    return [...this.#entries.values()].map(({ group }) => group)
  }

  #intervalOf(target: TargetRecord): number {
    return target.interval_ms ?? this.#config.intervalMs
  }

  #place(key: string, targets: readonly TargetRecord[]): void {
    const known = this.#entries.get(key)
    if (known !== undefined) {
      if (JSON.stringify(known.group.targets) !== JSON.stringify(targets)) known.group.update(targets)
      return
    }
    const deviceId = targets[0]!.device_id
    const intervalMs = this.#intervalOf(targets[0]!)
    const { field, topicPrefix } = this.#options
    const group = new PollGroup({
      deviceId,
      intervalMs,
      topicPrefix,
      field,
      triggers: this.#triggers,
      changes: this.#changes,
      now: () => this.#clock.now(),
    })
    group.update(targets)
    const entry: Entry = {
      deviceId,
      intervalMs,
      phase: this.#phases.take(field.busOf(deviceId) ?? '', intervalMs),
      group,
      grid: undefined,
      lastSlot: null,
      isDropped: false,
    }
    this.#entries.set(key, entry)
    if (this.#origin !== undefined) this.#run(entry)
  }

  #drop(key: string, entry: Entry): void {
    this.#entries.delete(key)
    entry.isDropped = true
    entry.phase.giveBack()
    // A slot that runs ends by itself; nothing waits for it but its own grid.
    void entry.grid?.stop()
  }

  #run(entry: Entry): void {
    if (this.#isStopping) return
    entry.grid = new Grid({
      clock: this.#clock,
      alarms: this.#alarms,
      origin: this.#origin! + entry.phase.ms,
      intervalMs: entry.intervalMs,
      run: (slot, dueAt) => this.#cycle(entry, slot, dueAt),
      onSkipped: (slots) => this.#counter.skipped(slots),
    })
    entry.grid.start()
  }

  async #cycle(entry: Entry, slot: number, dueAt: number): Promise<void> {
    if (!this.#leads(entry.deviceId)) return
    const startedAt = this.#clock.monotonic()
    this.#counter.began(Math.max(0, startedAt - dueAt))
    entry.lastSlot = slot
    try {
      for (let asked = this.#recall(entry); asked !== undefined; asked = this.#recall(entry)) await asked
      if (!this.#isToPoll(entry)) return
      const { results, succeeded, failed } = await entry.group.cycle(slot, dueAt, this.#stopped.signal)
      if (!this.#isToPoll(entry)) return this.#takeBack(results)
      const fired = results.flatMap((result) => result.fired ?? [])
      const onDurable = fired.length === 0 ? undefined : await this.#triggers.begin(fired)
      await this.#retained.noted
      // What was read for a target that is gone must not come back after its retained topics were cleared, and of a bus that
      // another installation has by now that one speaks.
      const isWanted = ({ output }: TargetResult) => this.#isToPoll(entry) && entry.group.has(output)
      const unwanted = results.filter((result) => !isWanted(result))
      this.#triggers.undo(unwanted.flatMap((result) => result.fired ?? []))
      this.#takeBack(unwanted)
      if (!this.#isToPoll(entry)) return
      await this.#handOver(results.filter(isWanted), onDurable)
      const durationMs = this.#clock.monotonic() - startedAt
      this.#counter.cycle({ succeeded, failed, durationMs, now: this.#clock.now() })
    } catch (error) {
      this.#options.logger.error({ err: error, device_id: entry.deviceId, slot }, 'a polling slot failed')
    }
  }

  /** Whoever reads these targets next tells what they say. */
  #takeBack(results: readonly TargetResult[]): void {
    for (const { changes, output } of results) {
      this.#changes.undo(changes)
      output.forget()
    }
  }

  /** Asked for one, the book is asked for all: a thousand are one question. */
  #recall(entry: Entry): Promise<void> | undefined {
    if (!this.#isToPoll(entry) || !this.#triggers.isToAsk(entry.group.targets)) return undefined
    return this.#triggers.recall(this.targets().filter(({ device_id }) => this.#leads(device_id)))
  }

  #isToPoll(entry: Entry): boolean {
    return !this.#isOver(entry) && this.#leads(entry.deviceId)
  }

  #isOver(entry: Entry): boolean {
    return this.#stopped.signal.aborted || entry.isDropped
  }

  /** Resolves when the sink has taken the samples; `onDurable` is called when they, and the messages, cannot be lost any more. */
  async #handOver(results: readonly TargetResult[], onDurable: (() => void) | undefined): Promise<void> {
    const published = Promise.all(results.map((result) => this.#publishing.all(result)))
    for (const { changes } of results) for (const change of changes) this.#options.onChange?.(change)
    const samples = results.flatMap(({ sample }) => sample ?? [])
    if (samples.length === 0) return
    const whenKept = onDurable && (() => void published.then((taken) => taken.every(Boolean) && onDurable()))
    await this.#keeping.keep(samples, whenKept)
  }

  #leads(deviceId: string): boolean {
    const { isLeader, field } = this.#options
    if (isLeader === undefined) return true
    const bus = field.busOf(deviceId)
    return bus === undefined || isLeader(bus)
  }
}
