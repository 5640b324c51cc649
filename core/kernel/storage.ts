import { join } from 'node:path'
import type { Config } from '../config/config.js'
import { AppConnections } from '../database/app-database.js'
import type { AppDatabase } from '../database/app-tables.js'
import { Ingest } from '../database/ingest.js'
import { isDriverMissing, openDatabase } from '../database/open.js'
import type { AuditInput, EventInput } from '../database/repositories/log-repositories.js'
import { TriggerRows } from '../database/repositories/trigger-rows.js'
import { Retention } from '../database/retention.js'
import type { Store } from '../database/store.js'
import { GatewayStore } from '../delivery/gateway-store.js'
import { MemoryStore } from '../delivery/memory-store.js'
import { KeyRing } from '../http/key-ring.js'
import type { SidecarServices } from '../http/services.js'
import type { FieldPort } from '../modbus/field.js'
import type { WriteAudit, WriteAuditRecord } from '../modbus/write-audit.js'
import { Outbox } from '../mqtt/outbox.js'
import type { Logger } from '../observability/logger.js'
import type { Tracing } from '../observability/tracing.js'
import type { LateSpool } from '../spool/late-spool.js'
import type { Clock } from '../support/clock.js'
import type { GatewayServices } from '../workers/services.js'
import { BegunWrites } from './begun-writes.js'
import type { LeaseBook } from './bus-leases.js'
import type { App } from './create-app.js'
import { deadLetterService, type Rerun } from './dead-letter-service.js'
import { historyViews } from './history-views.js'
import { Journal } from './journal.js'
import { LeaseFiles } from './lease-files.js'
import type { PlantTables } from './plant-tables.js'
import { auditEntry, named } from './records.js'
import { Spools } from './spools.js'
import { TriggerRecords } from './trigger-records.js'

interface Parts {
  readonly config: Config
  readonly logger: Logger
  readonly warnings: readonly string[]
  readonly spools: Spools
  readonly outbox: Outbox
  readonly connections: AppConnections
  readonly triggers: TriggerRecords
  /** Stands in for all that follows where there is no database. */
  readonly memory?: MemoryStore
  readonly store?: Store
  readonly audit?: Journal<AuditInput>
  readonly begun?: BegunWrites
  readonly events?: Journal<EventInput>
  readonly ingest?: Ingest
  readonly kept?: GatewayStore
  readonly retention?: Retention
  readonly keys?: KeyRing
}

export interface StorageOptions {
  readonly app: App
  readonly config: Config
  readonly logger: Logger
  readonly clock: Clock
  readonly tracing?: Tracing | undefined
}

const MEBIBYTE = 1_048_576

/** Everything that keeps something: the database, and the spools that stand in for it and for the broker. */
export class Storage {
  readonly #parts: Parts
  readonly outbox: Outbox
  /** Takes samples of the poller; undefined without a database. */
  readonly ingest: Ingest | undefined
  /** What triggers recorded last. */
  readonly triggers: TriggerRecords

  private constructor(parts: Parts) {
    this.#parts = parts
    this.outbox = parts.outbox
    this.ingest = parts.ingest
    this.triggers = parts.triggers
    parts.store?.onState((state) => {
      if (state.name !== 'ok') return parts.audit?.watch()
      void parts.audit?.replay()
      void parts.events?.replay()
    })
    if (parts.store !== undefined && parts.store.state.name !== 'ok') parts.audit?.watch()
  }

  static async open({ app, config, logger, clock, tracing }: StorageOptions): Promise<Storage> {
    const warnings: string[] = []
    const { instance, dataDir } = config.app
    const store = await openDatabase(config.database, {
      logger,
      clock,
      instance,
      appMigrationsDir: join(app.root, app.folders.migrations),
    }).catch((error: unknown) => {
      // Commands, polling and publishing need no database; saying how to mend it is better than not starting.
      if (!isDriverMissing(error)) throw error
      warnings.push((error as Error).message)
      return undefined
    })
    const spools = new Spools({ dataDir, logger, clock })
    const spool = async (name: string, maxBytes: number) => {
      try {
        return await spools.open(name, maxBytes)
      } catch (error) {
        // A start that ends here must not be kept alive by what is open already.
        await spools.close()
        await store?.close()
        throw error
      }
    }
    const outboxSpool = await spool('outbox', config.mqtt.outboxBytes)
    const outbox = new Outbox({ spool: outboxSpool, logger, clock })
    void outboxSpool.opened.then(() => outbox.wake())
    const connections = new AppConnections(config.database)
    const writable = () => store?.state.name === 'ok'
    // Whoever shares no database shares no buses.
    const rows = store === undefined || store.dialect === 'sqlite' ? undefined : new TriggerRows(store)
    const triggers = await TriggerRecords.open({
      file: join(dataDir, 'trigger-records.json'),
      owner: instance,
      logger,
      clock,
      ...(rows && { table: () => (writable() ? rows : undefined) }),
    })
    const base = { config, logger, warnings, spools, outbox, connections, triggers }
    if (store === undefined) return new Storage({ ...base, memory: new MemoryStore() })

    const journal = <Entry extends AuditInput | EventInput>(
      name: string,
      queue: LateSpool,
      write: (entries: readonly Entry[]) => Promise<void>,
    ) => {
      const opened = new Journal<Entry>({ name, spool: queue, writable, write, logger, clock })
      void queue.opened.then(() => opened.replay())
      return opened
    }
    const auditSpool = await spool('audit', config.keep.auditSpoolBytes)
    const audit = journal<AuditInput>('audit', auditSpool, (entries) => store.audit.append(entries))
    const begunSpool = await spool('writes', 16 * MEBIBYTE)
    const begun = new BegunWrites({ spool: begunSpool, logger, clock })
    // Behind what the audit's own spool says of them.
    const bothOpen = Promise.all([begunSpool.opened, auditSpool.opened])
    void bothOpen.then(() => begun.recover((entry) => audit.put(entry)))
    const eventSpool = await spool('events', 16 * MEBIBYTE)
    const events = journal<EventInput>('events', eventSpool, (entries) => store.events.append(entries))
    const ingest = new Ingest({
      store,
      spool: await spool('readings', config.keep.spoolBytes),
      logger,
      clock,
      instance,
      ...(tracing && { tracing }),
    })
    const deliveries = await spool('delivery', 256 * MEBIBYTE)
    const kept = new GatewayStore({
      tables: { deadLetters: store.deadLetters, parked: store.parked, claims: store.idempotency },
      spool: deliveries,
      owner: ingest.source,
      logger,
      clock,
    })
    await kept.start().catch((error: unknown) => {
      // It begins with whatever is asked of it first once the spool is open; until then it refuses.
      if (deliveries.whyNotOpen === undefined) throw error
    })
    const retention = new Retention({
      store,
      logger,
      clock,
      dataDir,
      limits: config.keep,
      minFree: config.keep.minFree,
      onDisk: (reason) => (reason === undefined ? ingest.resume() : ingest.suspend(reason)),
    })
    retention.start()
    const keys = new KeyRing({
      table: () => (writable() ? store.keys : undefined),
      file: join(dataDir, 'api-keys.json'),
      clock,
      logger,
    })
    await keys.start()
    return new Storage({ ...base, store, audit, begun, events, ingest, kept, retention, keys })
  }

  /** What the gateway does for one worker. */
  servicesFor(worker: string, field: FieldPort): GatewayServices {
    const { kept } = this.#parts
    const store = this.#deliveries
    return {
      field: store.guardField(field),
      store: store.forWorker(worker),
      outbox: this.outbox,
      takeOver: async (routes, has) => (await kept?.takeOver(worker, new Set(routes), new Set(has))) ?? [],
    }
  }

  /** Takes the password of a generation of the configuration that has the database where it is. */
  usePassword({ database }: Config): void {
    const { store, connections } = this.#parts
    store?.usePassword(database)
    connections.usePassword(database)
  }

  workerLost(worker: string): void {
    this.#deliveries.workerLost(worker)
  }

  get #deliveries(): GatewayStore | MemoryStore {
    return this.#parts.kept ?? this.#parts.memory!
  }

  /** The application's tables, for route code and HTTP routes that run in this process. */
  get appTables(): AppDatabase {
    return this.#parts.connections.db
  }

  get durable(): boolean {
    return this.#parts.kept !== undefined
  }

  /** Why readings are not stored, while they are not. */
  get notStoring(): string | undefined {
    return this.#parts.retention?.diskReason ?? this.ingest?.trouble
  }

  /** What people should know about readings that wait. */
  get readingsNotice(): string | undefined {
    return this.ingest?.notice
  }

  /** What people should know about the audit that waits. */
  get auditNotice(): string | undefined {
    return this.#parts.audit?.notice
  }

  /** Why no device is written, while nothing can be audited. */
  get auditRefusal(): string | undefined {
    return this.#parts.audit?.refusal
  }

  /** Why what must outlive the process has no place on the disk, from the start on until it has. */
  get diskReason(): string | undefined {
    return this.#parts.spools.reason
  }

  /** Of every write and every refusal; before a write it says whether there is a place for them, and notes what begins. */
  get writeAudit(): WriteAudit {
    const { audit, begun } = this.#parts
    return Object.assign((record: WriteAuditRecord) => this.audit(auditEntry(record)), {
      ready: () => audit?.ready(),
      ...(begun && {
        begin: (records: readonly WriteAuditRecord[]) => begun.begin(records.map((one) => named(auditEntry(one)))),
      }),
    })
  }

  /** Resolves when the entry is durable; without a database it goes to the log, which is all there is. */
  async audit(entry: AuditInput): Promise<void> {
    const { audit, logger } = this.#parts
    if (audit === undefined) logger.info({ audit: named(entry) }, entry.action)
    else await audit.put(named(entry))
  }

  event(event: EventInput): void {
    const { events, logger } = this.#parts
    // Where it has no place the journal says so, and keeps it as soon as there is one.
    events?.put(event).catch((error: unknown) => logger.debug({ error, event }, 'an event waits for a place'))
  }

  /** Who owns which bus: the database server decides, where there is one; else files of this host do. */
  leaseBook(): LeaseBook {
    const { store, config } = this.#parts
    if (store !== undefined && store.dialect !== 'sqlite') return store.leases
    return new LeaseFiles(join(config.app.dataDir, 'buses'))
  }

  plantTables(): PlantTables | undefined {
    const { store } = this.#parts
    return store?.state.name === 'ok' ? store : undefined
  }

  database(): { readonly state: 'ok' | 'disconnected' | 'error'; readonly reason?: string } | undefined {
    const { store } = this.#parts
    if (store === undefined) return undefined
    const { name, ...rest } = store.state
    return { state: name, ...rest }
  }

  /** Where the database is, without secrets. */
  get address(): string | undefined {
    return this.#parts.store?.address
  }

  describe(): string {
    const { store, config } = this.#parts
    if (config.database.kind === 'none') return 'none (DATABASE_URL=none): devices come from the application'
    if (store === undefined) return 'none: see the warning above'
    const { state, address } = store
    return state.name === 'ok' ? address : `${address}: ${state.name}, ${state.reason}`
  }

  /** @param rerun runs a dead letter again in a worker */
  sidecarViews(rerun: Rerun): Pick<SidecarServices, 'readings' | 'events' | 'audit' | 'dead' | 'keys'> {
    const { store, keys } = this.#parts
    if (store === undefined || keys === undefined) return {}
    return { ...historyViews(store), dead: deadLetterService(store.deadLetters, rerun), keys }
  }

  get warnings(): readonly string[] {
    const { diskReason } = this
    if (diskReason === undefined) return this.#parts.warnings
    return [...this.#parts.warnings, `what must be kept is refused until the disk takes it: ${diskReason}`]
  }

  stats(): object {
    const { audit, events, ingest, kept, retention } = this.#parts
    return {
      audit_waiting: audit?.waiting ?? 0,
      events_waiting: events?.waiting ?? 0,
      dead_letters_removed: retention?.deadLettersRemoved ?? 0,
      outbox: this.outbox.stats(),
      ...(ingest === undefined ? {} : { ingest: ingest.stats() }),
      ...(kept === undefined ? {} : { delivery: kept.stats() }),
    }
  }

  /** Writes out what is buffered, within `deadlineMs`; what the database does not take stays in the spools. */
  async close(): Promise<void> {
    const { ingest, kept, outbox, audit, begun, events, store, spools, retention, keys, connections, triggers } =
      this.#parts
    await retention?.stop()
    await keys?.stop()
    await ingest?.stop()
    await kept?.stop()
    await outbox.stop()
    // Now that what triggers recorded is durable.
    await triggers.stop()
    await begun?.stop()
    await audit?.stop()
    await events?.stop()
    await spools.close()
    await connections.close()
    await store?.close()
  }
}
