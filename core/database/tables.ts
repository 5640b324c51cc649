import type { Generated } from 'kysely'

type Flag = boolean | number

/** Entries of `routemq_meta` that speak of the very database they are in; all others say what was done once. */
export const OF_THIS_DATABASE = {
  /** Bytes of readings that the last trim left. */
  trimmed: 'readings_trimmed_bytes',
  /** Written to see whether it can be. */
  written: 'written',
} as const

/** The framework's tables. Times are microseconds since the epoch, UTC; JSON stands as text. */
export interface FrameworkTables {
  routemq_meta: { name: string; value: string }
  routemq_devices: DeviceRow
  routemq_targets: TargetRow
  routemq_sources: { id: Generated<number>; instance: string; boot: string }
  routemq_series: { id: Generated<number>; device_id: string; point: string; unit: string | null }
  routemq_readings: ReadingRow
  /** SQLite only: what was taken last, in the order in which it came. */
  routemq_fresh_readings: ReadingRow & { id: Generated<number> }
  routemq_events: {
    id: Generated<number>
    time_us: number
    kind: string
    device_id: string | null
    level: string
    message: string
    details: string | null
    /** Given before the row is written: written twice it is there once. */
    entry_id: string | null
  }
  routemq_audit: AuditRow
  routemq_dead_letters: {
    id: string
    failed_us: number
    route: string
    topic: string
    code: string
    record: string
    /** Who runs it again; nobody else may before this time of the database. */
    runner: Generated<string | null>
    run_until_us: Generated<number | null>
    body: string | null
    bytes: number | null
  }
  routemq_parked: {
    id: Generated<number>
    parked_id: string
    route: string
    record: string
    parked_us: number
    body: string | null
  }
  routemq_claims: {
    claim_key: string
    payload_hash: string
    owner: string
    state: string
    outcome: string | null
    claimed_us: number
    updated_us: number
  }
  routemq_api_keys: {
    prefix: string
    hash: string
    name: string
    scope: string
    created_us: number
    expires_us: number | null
    revoked_us: number | null
  }
  routemq_leases: { name: string; owner: string; epoch: number; renewed_us: number; term_us: number }
}

export interface DeviceRow {
  device_id: string
  host: string | null
  port: number | null
  slave_id: number
  unit_id: number | null
  timeout: number
  timeout_ms: number | null
  poll_timeout_ms: number | null
  framer: string
  transport: string
  path: string | null
  baud_rate: number | null
  parity: string | null
  data_bits: number | null
  stop_bits: number | null
  max_retries: number
  retry_delay: number
  write_enabled: Flag
  raw_write: string
  is_active: Flag
  points: string | null
  options: string | null
  created_us: number
  updated_us: number
}

export interface TargetRow {
  id: Generated<number>
  device_id: string
  register_type: string
  address: number
  count: number
  description: string | null
  is_active: Flag
  interval_ms: number | null
  publish: string
  options: string | null
  created_us: number
  updated_us: number
}

/** One value of one series. Its identity is (source, sequence); the key begins with series and time for the queries. */
export interface ReadingRow {
  series_id: number
  time_us: number
  source_id: number
  sequence: number
  /** The number, a boolean as 0 or 1, the nearest double of a 64-bit integer; null where there is none. */
  value: number | null
  /** What a double cannot hold: text, exact 64-bit integers, raw blocks as JSON. */
  text_value: string | null
  kind: number
  quality: number
  reason: string | null
}

export interface AuditRow {
  id: Generated<number>
  time_us: number
  actor_kind: string
  actor_name: string
  action: string
  device_id: string | null
  subject: string | null
  before_value: string | null
  after_value: string | null
  outcome: string
  code: string | null
  duration_ms: number | null
  details: string | null
  entry_id: string | null
}
