import type { RegisterType } from './field.js'
import type { PointDefinition } from './point.js'
import type { ProfileUse } from './profile-use.js'

/** A device as users and the database know it: the contract's device record, snake_case. */
export interface DeviceRecord {
  readonly device_id: string
  /** TCP, UDP, TLS; null for a serial device. */
  readonly host: string | null
  readonly port: number | null
  readonly slave_id: number
  /** 0-255 on TCP, UDP and TLS; overrides `slave_id`. */
  readonly unit_id: number | null
  /** Seconds an answer to a read on demand may take. */
  readonly timeout: number
  /** Milliseconds; overrides `timeout` where set. */
  readonly timeout_ms: number | null
  readonly poll_timeout_ms: number | null
  readonly framer: 'RTU' | 'SOCKET' | 'ASCII'
  readonly transport: 'tcp' | 'udp' | 'tls' | 'serial'
  readonly path: string | null
  readonly baud_rate: number | null
  readonly parity: 'none' | 'even' | 'odd' | null
  readonly data_bits: 7 | 8 | null
  readonly stop_bits: 1 | 2 | null
  readonly max_retries: number
  /** Seconds between two attempts of a read on demand. */
  readonly retry_delay: number
  readonly write_enabled: boolean
  readonly raw_write: 'allow' | 'points' | 'deny'
  readonly is_active: boolean
  readonly points: readonly PointDefinition[]
  /** Bus and device settings beyond the contract: delays, in_flight, forbidden ranges, profile. */
  readonly options: Readonly<Record<string, unknown>>
  /** ISO 8601 UTC. */
  readonly created_at: string
  readonly updated_at: string
}

export type PublishMode = 'always' | 'change' | 'deadband' | 'trigger'

/** A polling target as users and the database know it. */
export interface TargetRecord {
  readonly id: number
  readonly device_id: string
  readonly register_type: RegisterType
  readonly address: number
  readonly count: number
  readonly description: string | null
  readonly is_active: boolean
  /** Null: the global interval. */
  readonly interval_ms: number | null
  readonly publish: PublishMode
  readonly options: Readonly<Record<string, unknown>>
  readonly created_at: string
  readonly updated_at: string
}

/** What a device definition file in `app/` may write: the contract's names, everything with a default left out. */
export type DeviceInput = Pick<DeviceRecord, 'device_id'> &
  Partial<Omit<DeviceRecord, 'device_id' | 'created_at' | 'updated_at' | 'points'>> & {
    readonly points?: readonly PointDefinition[]
    /** A profile of `app/profiles`: fields and points that many devices of one model share. */
    readonly profile?: ProfileUse
  }

export type TargetInput = Pick<TargetRecord, 'device_id' | 'address'> &
  Partial<Omit<TargetRecord, 'id' | 'device_id' | 'address' | 'created_at' | 'updated_at'>>
