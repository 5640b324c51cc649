import type { HealthReport, ServiceState } from '../http/services.js'
import type { DeviceStatus } from '../modbus/field-service.js'
import type { WorkerReport } from '../workers/supervisor.js'

export interface HealthFacts {
  readonly uptimeMs: number
  /** Undefined: `DATABASE_URL=none`. */
  readonly database: { readonly state: 'ok' | 'disconnected' | 'error'; readonly reason?: string } | undefined
  readonly mqttConnected: boolean
  readonly devices: readonly Pick<DeviceStatus, 'device_id' | 'state' | 'reason' | 'breaker'>[]
  /** Buses that another installation owns: nothing is wrong with that, but it is said. */
  readonly standby: readonly { readonly bus: string; readonly reason: string }[]
  /** Buses about which people should know something. */
  readonly buses: readonly { readonly id: string; readonly notice: string | null }[]
  readonly pollerEnabled: boolean
  /** Why readings are not stored, while they are not. */
  readonly notStoring: string | undefined
  /** What people should know about readings that wait for the database. */
  readonly readingsNotice: string | undefined
  /** What people should know about the audit that waits for the database. */
  readonly auditNotice: string | undefined
  /** Why no device is written, while nothing can be audited. */
  readonly auditRefusal: string | undefined
  /** Why what must outlive the process has no place on the disk. */
  readonly diskReason: string | undefined
  /** Undefined: everything runs in the gateway (`--workers 0`). */
  readonly workers: readonly WorkerReport[] | undefined
}

/** The state of everything, in words. Only what stops the product from working is `degraded`; a device that is off is not. */
export function healthOf(facts: HealthFacts): HealthReport {
  const details: Record<string, unknown> = {}
  const database = databaseState(facts, details)
  const mqtt: ServiceState = facts.mqttConnected ? 'ok' : 'disconnected'
  if (!facts.mqttConnected) details.mqtt = 'the broker is away; what is published waits in the outbox'
  const off = facts.devices.flatMap((device) => {
    const trouble = troubleOf(device)
    return trouble === undefined ? [] : [`${device.device_id}: ${trouble}`]
  })
  if (off.length > 0) details.modbus = off.slice(0, 20)
  if (facts.standby.length > 0) {
    details.standby = facts.standby.slice(0, 20).map(({ bus, reason }) => `${bus}: ${reason}`)
  }
  const notices = facts.buses.flatMap(({ id, notice }) => (notice === null ? [] : [`${id}: ${notice}`]))
  if (notices.length > 0) details.buses = notices.slice(0, 20)
  if (facts.notStoring !== undefined) details.poller = `readings are not stored: ${facts.notStoring}`
  if (facts.readingsNotice !== undefined) details.readings = facts.readingsNotice
  const storesAll = facts.notStoring === undefined && facts.readingsNotice === undefined
  const workers = workerState(facts, details)
  if (facts.auditNotice !== undefined) details.audit = `${facts.auditNotice}; once it is full no device is written`
  if (facts.auditRefusal !== undefined) {
    details.writes = `writes are refused: nothing can be audited (${facts.auditRefusal})`
  }
  if (facts.diskReason !== undefined) {
    details.disk = `commands that must run once, dead letters and publishing while the broker is away are refused: ${facts.diskReason}`
  }
  const away = [database, mqtt, workers].some((state) => state === 'disconnected' || state === 'error')
  return {
    status: away || facts.auditRefusal !== undefined ? 'degraded' : 'ok',
    services: {
      database,
      mqtt,
      modbus: facts.devices.length === 0 ? 'disabled' : off.length > 0 ? 'warning' : 'ok',
      poller: facts.pollerEnabled ? (storesAll ? 'ok' : 'warning') : 'disabled',
      workers,
    },
    details,
    uptime: facts.uptimeMs / 1000,
  }
}

/** What keeps a device from being read, in words; undefined where nothing is known to. */
function troubleOf({ state, reason, breaker }: HealthFacts['devices'][number]): string | undefined {
  if (state === 'conflict') return reason ?? 'in conflict with another device'
  if (state === 'offline') return reason === 'bus_down' ? 'its bus cannot be reached' : 'does not answer'
  return breaker === 'closed' ? undefined : 'failed repeatedly and is left alone for a while'
}

function databaseState({ database }: HealthFacts, details: Record<string, unknown>): ServiceState {
  if (database === undefined) return 'disabled'
  if (database.state !== 'ok') details.database = database.reason ?? `the database is ${database.state}`
  return database.state
}

function workerState({ workers }: HealthFacts, details: Record<string, unknown>): ServiceState {
  if (workers === undefined) return 'ok'
  const idle = workers.filter(({ state }) => state !== 'ready')
  if (idle.length === 0) return 'ok'
  details.workers = idle.map(
    ({ name, state, reason }) => `${name} is ${state}${reason === undefined ? '' : `: ${reason}`}`,
  )
  // A worker that is being replaced is back in a moment; one that waits after a failed start cannot work.
  return idle.some(({ state }) => state === 'waiting') ? 'error' : 'warning'
}
