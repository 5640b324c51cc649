import type { Config } from '../config/config.js'
import type { AppDatabase } from '../database/app-tables.js'
import type { DeviceStateView } from '../http/services/plant.js'
import type { WorkerView } from '../http/services/runtime.js'
import type { SidecarServices } from '../http/services.js'
import type { FieldPort } from '../modbus/field.js'
import type { DeviceStatus, FieldService } from '../modbus/field-service.js'
import type { PlanOptions } from '../mqtt/subscription-planner.js'
import type { Poller } from '../poller/poller.js'
import type { Route } from '../router/route.js'
import { routeViews } from '../workers/route-view.js'
import type { Supervisor, WorkerReport } from '../workers/supervisor.js'
import type { Plant } from './plant.js'

export interface SidecarParts {
  readonly config: Config
  readonly version: string
  readonly db: () => AppDatabase
  readonly field: FieldService
  /** The same for requests of callers, with what else is to happen around each. */
  readonly asked: FieldPort
  readonly poller: Poller
  readonly plant: Plant
  readonly routes: readonly Route[]
  /** How the routes are dealt just now. */
  readonly plan: () => PlanOptions
  readonly supervisor: Supervisor | undefined
  readonly prometheus: () => Promise<string>
  readonly observeHttp: NonNullable<SidecarServices['metrics']['observeHttp']>
  readonly live: NonNullable<SidecarServices['live']>
  readonly health: SidecarServices['health']
  readonly ready: SidecarServices['ready']
  /** What needs the database: readings, events, audit, dead letters, keys. */
  readonly kept: Pick<SidecarServices, 'readings' | 'events' | 'audit' | 'dead' | 'keys'>
}

/** The product as the sidecar sees it. */
export function sidecarServices(parts: SidecarParts): SidecarServices {
  const { config, version, field, poller, plant, routes, supervisor } = parts
  return {
    config,
    version,
    get db() {
      return parts.db()
    },
    health: parts.health,
    ready: parts.ready,
    field: parts.asked,
    devices: plant.devices,
    targets: plant.targets,
    plant,
    cache: {
      entries: (deviceId) => {
        if (deviceId !== undefined) plant.need(deviceId)
        return field.cache.entries(deviceId)
      },
      clear: () => field.cache.clear(),
    },
    metrics: {
      snapshot: () => ({ ...field.metrics(), polling: poller.metrics() }),
      reset: () => {
        field.resetMetrics()
        poller.resetMetrics()
      },
      prometheus: parts.prometheus,
      observeHttp: parts.observeHttp,
    },
    routes: () => routeViews(routes, parts.plan()),
    buses: () => {
      const states = statesByBus(field.devices())
      return field.gateways().map((bus) => ({ ...bus, device_states: states.get(bus.id) ?? {} }))
    },
    devicePlan: (deviceId) => {
      const plan = poller.plan(deviceId)
      const bus = field.gateways().find(({ id }) => id === plan.bus)
      return { ...plan, measured_round_trip_ms: bus?.round_trip_ms ?? null }
    },
    busLoad: (deviceId) => {
      if (field.polling.busOf(deviceId) === undefined) return undefined
      const { bus_load_percent, warning } = poller.plan(deviceId)
      return { percent: bus_load_percent, warning }
    },
    ...(supervisor === undefined ? {} : { workers: workerService(supervisor, config.app.shutdownMs) }),
    live: parts.live,
    ...parts.kept,
  }
}

/** What is known of each device, by its bus and its id. */
function statesByBus(devices: readonly DeviceStatus[]): ReadonlyMap<string, Record<string, DeviceStateView>> {
  const buses = new Map<string, Record<string, DeviceStateView>>()
  for (const { gateway, device_id, state, reason } of devices) {
    const states = buses.get(gateway) ?? {}
    states[device_id] = { state, ...(reason !== undefined && { reason }) }
    buses.set(gateway, states)
  }
  return buses
}

function workerService(supervisor: Supervisor, deadlineMs: number): NonNullable<SidecarServices['workers']> {
  const list = () => supervisor.reports().map(workerView)
  return {
    list,
    restart: async (name) => {
      await supervisor.restart(name, deadlineMs)
      return list()
    },
    scale: async (slots) => {
      await supervisor.scale(slots, deadlineMs)
      return list()
    },
  }
}

function workerView(report: WorkerReport): WorkerView {
  return { ...report, pid: report.pid ?? null }
}
