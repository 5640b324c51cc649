import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { hostname } from 'node:os'
import { join } from 'node:path'
import dotenv from 'dotenv'
import { loadConfig } from '../config/load-config.js'
import { prepareTypeScript } from '../config/typescript-loader.js'
import type { Store } from '../database/store.js'
import type { BusView, DeviceStateView } from '../http/services/plant.js'
import type { DeviceRecord, TargetRecord } from '../modbus/device-record.js'
import { busIdOf } from '../modbus/endpoint.js'
import type { FieldPort, FieldRequest, FieldResponse, PointReading, WriteResult } from '../modbus/field.js'
import { silentLogger } from '../observability/logger.js'
import { systemClock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import type { CliContext } from './context.js'
import { LONG_MS, RunningProduct } from './running-product.js'
import { openStore } from './store-session.js'
import { tellingWhoIsWaitedFor } from './waiting.js'

/** Devices as commands reach them: through the running product, which owns the buses, else over a bus opened here. */
export interface DeviceAccess extends FieldPort {
  /** Said to people: whether the product answers or the command itself. */
  readonly by: 'product' | 'command'
  list(): Promise<readonly DeviceRecord[]>
  /** Whether each active device can be talked to, by its id; of those left out nothing is known. */
  states(): Promise<Readonly<Record<string, DeviceStateView>>>
  /** Points by name; all that can be read where none is named. @throws RouteMQError USAGE where there are none */
  readPoints(read: PointRead, signal: AbortSignal): Promise<PointReadings>
  /** Claims a bus for this command alone, for what goes to its wire directly. @throws RouteMQError BUS_IN_USE, BUS_STANDBY */
  claim(bus: string): Promise<void>
  close(): Promise<void>
}

export interface PointRead {
  readonly device_id: string
  readonly points: readonly string[]
  readonly source: 'live' | 'cache'
}

export interface PointReadings {
  readonly device_id: string
  readonly points: readonly PointReading[]
}

export async function openDevices(context: CliContext): Promise<DeviceAccess> {
  const product = RunningProduct.find(context.root, context.signal)
  return product === undefined ? openOwnBus(context) : throughProduct(product)
}

/** The virtual device of demo mode runs with the product only; whoever listens at its address meanwhile is another. */
export function refuseVirtual({ device_id, options, is_active }: DeviceRecord): void {
  if (options.virtual !== true || is_active) return
  throw new RouteMQError(
    'NOT_RUNNING',
    `Device ${device_id} is the virtual device of demo mode, which is there while the product runs.`,
    { details: { device_id } },
  )
}

interface Written {
  readonly status: 'ok' | 'accepted'
  readonly results: readonly WriteResult[]
}

/** What the device accepted and has not finished is no success yet; the owner of the bus rejects it too. */
function finished(written: Written): Written {
  if (written.status === 'ok') return written
  const { results } = written
  const message = results.find(({ error }) => error !== undefined)?.error?.message
  throw new RouteMQError('MODBUS_ACKNOWLEDGE', message ?? 'The device is still working', { details: { results } })
}

/** The operations of a FieldPort, as calls of the sidecar. */
function throughProduct(product: RunningProduct): DeviceAccess {
  const answer = (request: FieldRequest): Promise<unknown> => {
    const base = `/api/devices/${encodeURIComponent(request.device_id)}`
    switch (request.op) {
      case 'read': {
        const { register_type, address, count, source = 'live' } = request
        const query = new URLSearchParams({ register_type, address: String(address), count: String(count), source })
        return product.call('GET', `${base}/registers?${query}`, undefined, LONG_MS)
      }
      case 'read_points': {
        const query = new URLSearchParams(request.points.map((name): [string, string] => ['point', name]))
        query.set('source', request.source ?? 'live')
        return product.call('GET', `${base}/points?${query}`, undefined, LONG_MS)
      }
      case 'identify':
        return product.call('GET', `${base}/identity`, undefined, LONG_MS)
      case 'write':
        return product.call<Written>('POST', `${base}/write`, { items: request.items }, LONG_MS).then(finished)
      default:
        request satisfies never
        return Promise.reject(new Error(`unknown operation ${String((request as { op: unknown }).op)}`))
    }
  }
  return {
    by: 'product',
    list: () => product.call('GET', '/api/admin/devices'),
    states: async () => {
      const buses = await product.call<readonly BusView[]>('GET', '/api/admin/buses')
      return Object.assign({}, ...buses.map(({ device_states }) => device_states))
    },
    request: async <R extends FieldRequest>(request: R) => (await answer(request)) as FieldResponse<R>,
    async readPoints(read) {
      // The product knows which can be read: thousands of names are too long for a URL.
      const readings = (await answer({ op: 'read_points', ...read })) as PointReadings
      if (readings.points.length === 0) throw nothingToRead(read.device_id)
      return readings
    },
    async claim(bus) {
      const buses = await product.call<readonly BusView[]>('GET', '/api/admin/buses')
      const known = buses.find(({ id }) => id === bus)
      if (known === undefined) return
      const { state, owner, cause } = known
      if (state !== 'standby') {
        throw new RouteMQError('BUS_IN_USE', `The running product has bus ${bus} open.`, { details: { bus } })
      }
      throw new RouteMQError('BUS_STANDBY', `Bus ${bus} is not opened here: ${String(cause)}`, {
        details: { bus, owner },
      })
    },
    close: async () => {},
  }
}

/**
 * While nothing runs: the devices of the database, or of the application's own file where there is none, over a
 * connection that lasts as long as the command. Writes are audited in the database where there is one.
 */
async function openOwnBus(context: CliContext): Promise<DeviceAccess> {
  const { root, env } = context
  const { config } = loadConfig({ root, env, keepInstance: false })
  const [{ FieldService }, { auditEntry }, { LeaseFiles }, { CommandLeases }, { COMMAND }, { placeVirtual }] =
    await Promise.all([
      import('../modbus/field-service.js'),
      import('../kernel/records.js'),
      import('../kernel/lease-files.js'),
      import('./command-leases.js'),
      import('../kernel/bus-leases.js'),
      import('../kernel/demo-plant.js'),
    ])
  const store = await migratedStore(context)
  const kept = await (store === undefined
    ? plantOfFile(root).then(({ devices }) => devices)
    : store.devices.list()
  ).catch(async (error: unknown) => {
    await store?.close()
    throw error
  })
  // The virtual device of demo mode runs with the product only; at the address in its record may be somebody else's.
  const devices = kept.map(placeVirtual(undefined))
  // The product may run where its run file is not seen, or another installation own the bus: it is not opened here then.
  const server = store === undefined || store.dialect === 'sqlite' ? undefined : store.leases
  const leases = new CommandLeases({
    book: server ?? new LeaseFiles(join(config.app.dataDir, 'buses')),
    owner: `${COMMAND}${hostname().slice(0, 60)}:${process.pid}:${randomBytes(4).toString('hex')}`,
    // A lock whose process is gone is taken over at once.
    isAlive: async (owner) => server === undefined || (await server.alive()).includes(owner),
    onWait: (bus, owner) =>
      context.err(`The lease of bus ${bus} was left behind by ${owner}; it is free when it has lapsed, in seconds.`),
    onLost: (bus) => field.release(bus),
    signal: context.signal,
    clock: systemClock,
  })
  const field = new FieldService({
    config: config.modbus,
    ownership: leases,
    cacheTtlMs: 0,
    logger: silentLogger,
    ...(store === undefined ? {} : { audit: (record) => store.audit.append([auditEntry(record)]) }),
  })
  await field.start()
  field.apply(devices)
  const find = (id: string) => devices.find(({ device_id }) => device_id === id)
  const ask = async <R extends FieldRequest>(request: R, signal?: AbortSignal): Promise<FieldResponse<R>> => {
    const device = find(request.device_id)
    if (device !== undefined) refuseVirtual(device)
    return field.request(request, signal).catch((error: unknown) => {
      const isStandby = error instanceof RouteMQError && error.code === 'BUS_STANDBY'
      throw (isStandby && device && leases.failure(busIdOf(device))) || error
    })
  }
  return {
    by: 'command',
    list: async () => devices,
    states: async () => ({}),
    request: ask,
    async readPoints(read, signal) {
      const points = read.points.length > 0 ? read.points : readablePoints(find(read.device_id), read.device_id)
      return ask({ op: 'read_points', ...read, points }, signal)
    },
    async claim(bus) {
      await leases.decided(bus)
      const failure = leases.failure(bus)
      if (failure !== undefined) throw failure
      const holder = leases.holder(bus)
      if (!holder.mine) throw new RouteMQError('BUS_STANDBY', `Bus ${bus} is not opened here: ${holder.reason}`)
    },
    async close() {
      await field.stop(1_000)
      await leases.stop()
      await store?.close()
    },
  }
}

/**
 * The database where it is there and the product has run on it: else its tables say nothing yet.
 *
 * @throws DATABASE_UNAVAILABLE, DATABASE_SCHEMA for a server that is away or has not all tables: nobody but it knows the
 * devices, and who owns their buses.
 */
export async function migratedStore(context: CliContext): Promise<Store | undefined> {
  const { database } = loadConfig({ root: context.root, env: context.env, keepInstance: false }).config
  // Looking at a file that is not there would make it.
  if (database.kind === 'sqlite' && !existsSync(database.file)) return undefined
  const store = await openStore(context).catch((error: unknown) => {
    if (error instanceof RouteMQError && error.code === 'DATABASE_DRIVER_MISSING') return undefined
    throw error
  })
  if (store === undefined) return undefined
  if (store.state.name === 'ok') {
    const { framework } = await store.migrationStatus()
    if (framework.every(({ appliedAt }) => appliedAt !== undefined)) return store
  }
  const { state, address, dialect } = store
  await store.close()
  if (dialect === 'sqlite') return undefined
  if (state.name === 'ok') {
    throw new RouteMQError(
      'DATABASE_SCHEMA',
      `The database at ${address} has not all tables of this version: run \`routemq migrate\`, or start the product.`,
    )
  }
  throw new RouteMQError(
    'DATABASE_UNAVAILABLE',
    `The database at ${address} cannot be used: ${state.reason}. It alone knows the devices and who owns their buses.`,
  )
}

/** Devices and polling targets of the application's own file. */
export async function plantOfFile(root: string): Promise<{ devices: DeviceRecord[]; targets: TargetRecord[] }> {
  await prepareTypeScript(root)
  // The application's own code reads its settings from the environment; what is set there already wins.
  dotenv.config({ path: join(root, '.env'), quiet: true })
  const [{ loadApp, loadPlant }, { normalizeDevice }, { normalizeTarget }] = await Promise.all([
    import('../kernel/application.js'),
    import('../modbus/device-schema.js'),
    import('../modbus/target-schema.js'),
  ])
  const plant = await loadPlant(await loadApp(root))
  return {
    devices: plant.devices.map((device) => normalizeDevice(device)),
    targets: (plant.targets ?? []).map((target, index) => normalizeTarget(target, index + 1)),
  }
}

/** Runs `work` with the devices and closes them after it, whatever happened. */
export async function withDevices<T>(context: CliContext, work: (devices: DeviceAccess) => Promise<T>): Promise<T> {
  const devices = await openDevices(context)
  try {
    return await work(tellingWhoIsWaitedFor(devices, context))
  } finally {
    await devices.close()
  }
}

/** Names of all points of a device that can be read. */
function readablePoints(device: DeviceRecord | undefined, id: string): readonly string[] {
  if (device === undefined) throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${id}.`)
  const names = device.points.filter(({ access }) => access !== 'w').map(({ name }) => name)
  if (names.length > 0) return names
  throw nothingToRead(id)
}

function nothingToRead(id: string): RouteMQError {
  return new RouteMQError('USAGE', `Device ${id} has no points to read; name an address.`)
}
