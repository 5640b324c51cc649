import type { RegisterType } from './field.js'
import type { PointDefinition } from './point.js'
import type { ProfileUse } from './profile-use.js'

/** A device as users and the database know it: the contract's device record, snake_case. */
export interface DeviceRecord {
  /** A level of its topics: 1 to 50 characters, none of `/`, `+`, `#`. */
  readonly device_id: string
  /** TCP, UDP, TLS; null for a serial device. */
  readonly host: string | null
  /** 1 to 65535; null for a serial device. */
  readonly port: number | null
  /** Unit on the bus, 1 to 247. @default 1 */
  readonly slave_id: number
  /** 0 to 255 on TCP, UDP and TLS; overrides `slave_id`. @default null */
  readonly unit_id: number | null
  /** Seconds an answer to a read on demand or a write may take, 1 to 300. @default 10 */
  readonly timeout: number
  /** The same in milliseconds, 20 to 300,000; overrides `timeout` where set. @default null */
  readonly timeout_ms: number | null
  /** Milliseconds an answer to a poll may take, never more than half its interval. @default null: its time-out, at most 1000 */
  readonly poll_timeout_ms: number | null
  /** How frames are told apart; UDP and TLS know SOCKET only. @default RTU, SOCKET over UDP and TLS */
  readonly framer: 'RTU' | 'SOCKET' | 'ASCII'
  /** @default serial where there is a `path`, else tcp */
  readonly transport: 'tcp' | 'udp' | 'tls' | 'serial'
  /** Serial port: `/dev/ttyUSB0`, `COM3`; null on the network. */
  readonly path: string | null
  /** Bits a second of the serial line; null on the network. @default 9600 */
  readonly baud_rate: number | null
  /** @default none */
  readonly parity: 'none' | 'even' | 'odd' | null
  /** @default 8, 7 for ASCII */
  readonly data_bits: 7 | 8 | null
  /** @default 1 */
  readonly stop_bits: 1 | 2 | null
  /** Further attempts of a read on demand that failed, 0 to 10. Polls are never repeated. @default 5 */
  readonly max_retries: number
  /** Seconds between two attempts of a read on demand, 0 to 10. @default 0.1 */
  readonly retry_delay: number
  /** Whether anything may be written to it: `WRITE_DISABLED`. @default true */
  readonly write_enabled: boolean
  /** Writes by address: all, only those that a declared point covers, or none. @default allow */
  readonly raw_write: 'allow' | 'points' | 'deny'
  /** False: neither polled nor reachable: `DEVICE_INACTIVE`. @default true */
  readonly is_active: boolean
  /** @default none */
  readonly points: readonly PointDefinition[]
  /** Bus and device settings beyond the contract: delays, in_flight, forbidden ranges, profile. @default none */
  readonly options: Readonly<Record<string, unknown>>
  /** ISO 8601 UTC. */
  readonly created_at: string
  /** ISO 8601 UTC. */
  readonly updated_at: string
}

/** When a target publishes: each poll, each change, a change of at least `deadband`, or a change of its trigger. */
export type PublishMode = 'always' | 'change' | 'deadband' | 'trigger'

/** A polling target as users and the database know it. */
export interface TargetRecord {
  readonly id: number
  readonly device_id: string
  /** @default holding */
  readonly register_type: RegisterType
  /** PDU address of the first, 0-based. */
  readonly address: number
  /** Registers, or coils and discrete inputs, 1 to 2000. @default 1 */
  readonly count: number
  /** @default null */
  readonly description: string | null
  /** @default true */
  readonly is_active: boolean
  /** Milliseconds, 10 to 86,400,000. @default null: POLL_INTERVAL_SECONDS */
  readonly interval_ms: number | null
  /** @default always */
  readonly publish: PublishMode
  /** Deadband, trigger, events, retain, QoS and form of what is published. @default none */
  readonly options: Readonly<Record<string, unknown>>
  /** ISO 8601 UTC. */
  readonly created_at: string
  /** ISO 8601 UTC. */
  readonly updated_at: string
}

/** What a device definition file in `app/` may write: the contract's names, everything with a default left out. */
export type DeviceInput = Pick<DeviceRecord, 'device_id'> &
  Partial<Omit<DeviceRecord, 'device_id' | 'created_at' | 'updated_at' | 'points'>> & {
    readonly points?: readonly PointDefinition[]
    /** A profile of `app/profiles`: fields and points that many devices of one model share. */
    readonly profile?: ProfileUse
  }

/** The same for a polling target. */
export type TargetInput = Pick<TargetRecord, 'device_id' | 'address'> &
  Partial<Omit<TargetRecord, 'id' | 'device_id' | 'address' | 'created_at' | 'updated_at'>>
