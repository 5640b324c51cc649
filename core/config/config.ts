/** The one configuration object of a process: resolved, validated, frozen. Made by `loadConfig`, read by all parts. */
export interface Config {
  /** `demo`: nothing was configured, everything is embedded. */
  readonly mode: 'demo' | 'normal'
  readonly app: AppConfig
  readonly mqtt: MqttConfig
  readonly database: DatabaseConfig
  readonly keep: KeepConfig
  readonly modbus: ModbusConfig
  readonly poller: PollerConfig
  readonly http: HttpConfig
  readonly workers: WorkersConfig
  readonly log: LogConfig
  /** Undefined: no traces are made. */
  readonly trace?: TraceConfig | undefined
}

export interface AppConfig {
  /** Folder of the application: holds `routers/`, `controllers/`, `middleware/`, `app/`, `migrations/`. Absolute. */
  readonly root: string
  readonly name: string
  /** Where the product keeps its files: `<root>/data`. Absolute. */
  readonly dataDir: string
  /** `<root>/.routemq`: run.json and other traces of the running process. Absolute. */
  readonly runDir: string
  /** Id of this installation, `ROUTEMQ_INSTANCE` or a random one kept in the data folder. */
  readonly instance: string
  readonly production: boolean
  /** Keys that the default `auth` middleware accepts in `api_key` (`ROUTEMQ_API_KEYS`); empty lets everyone in. */
  readonly apiKeys: readonly string[]
  readonly shutdownMs: number
}

export interface MqttConfig {
  /** Undefined: the embedded broker is started and used. */
  readonly url: string | undefined
  /** Port of the embedded broker (`MQTT_PORT`), and whether it may move to a free one when taken. */
  readonly embedded: { readonly port: number; readonly mayMove: boolean }
  readonly username: string | undefined
  readonly password: string | undefined
  /** Prefix of every client id: `{clientId}-{instance}-{slot}-{lane}`. @default routemq */
  readonly clientId: string
  /** Share group of worker subscriptions. @default routemq */
  readonly groupName: string
  /** `auto`: MQTT 5 first, 3.1.1 where the broker refuses it. */
  readonly protocol: 'auto' | 5 | 4
  /** Each a PEM text or an absolute path. */
  readonly tls: {
    readonly ca?: string
    readonly cert?: string
    readonly key?: string
    readonly rejectUnauthorized: boolean
  }
  readonly keepaliveSeconds: number
  /** @default 86400: how long the broker keeps the session of a lane that went away. */
  readonly sessionExpirySeconds: number
  /** Messages a lane holds unacknowledged, and the bytes of their payloads. A full window pauses the lane. */
  readonly window: { readonly messages: number; readonly bytes: number }
  /** Payloads over this are refused. @default 1 MiB */
  readonly maxPacketBytes: number
  /** Filters a response topic must match. @default ['+/+/+/response', 'routemq/reply/#'] */
  readonly replyPrefixes: readonly string[]
  /** Bound of the durable outbox, bytes. */
  readonly outboxBytes: number
  /** How long a message may hold its place before it is parked, milliseconds. @default 2000 */
  readonly ackHoldMs: number
}

export type DatabaseConfig =
  | { readonly kind: 'none' }
  | { readonly kind: 'sqlite'; readonly file: string }
  | { readonly kind: 'postgres' | 'mysql'; readonly url: string; readonly poolSize: number; readonly echo: boolean }

/** Bounds of what is kept, by age and by size. */
export interface KeepConfig {
  readonly readingDays: number
  readonly readingBytes: number
  readonly eventDays: number
  readonly auditDays: number
  readonly deadLetters: number
  readonly deadLetterBytes: number
  /** Hours an idempotency key is remembered. */
  readonly claimHours: number
  /** Bytes of readings that wait on disk while the database is away. */
  readonly spoolBytes: number
  /** Bytes of audit that wait on disk while the database is away. */
  readonly auditSpoolBytes: number
  /** Share of the disk below which readings are not stored any more. */
  readonly minFree: number
}

export interface ModbusConfig {
  /** Demo mode's virtual device: port and whether it may move to a free one; undefined when there is none. */
  readonly demoPort: { readonly port: number; readonly mayMove: boolean } | undefined
  /** Where the devices of the default application are (`PLANT_HOST`, `PLANT_PORT`); absent: the virtual device. */
  readonly endpoint?: { readonly host: string; readonly port: number }
  readonly breaker: { readonly failures: number; readonly recoveryMs: number }
  readonly writeEnabled: boolean
  /** @default modbus/data */
  readonly topicPrefix: string
}

export interface PollerConfig {
  readonly enabled: boolean
  /** Global interval of targets that have none of their own. */
  readonly intervalMs: number
  readonly cacheTtlMs: number
}

export interface HttpConfig {
  readonly enabled: boolean
  readonly host: string
  readonly port: number
  readonly mayMove: boolean
  /** Bearer keys that may call the sidecar (`HTTP_API_KEYS`); the run token is accepted besides them. */
  readonly apiKeys: readonly string[]
  /** Tokens of others that are let in besides keys. */
  readonly jwt?: JwtConfig | undefined
  /** Origins whose pages may call the sidecar from a browser; none by default. */
  readonly corsOrigins?: readonly string[] | undefined
  /** Requests a client may send within the window. @default { max: 6000, windowMs: 60_000 } where credentials are asked for, else off */
  readonly rateLimit?: { readonly max: number; readonly windowMs: number } | 'off' | undefined
  /** Longest request body, bytes. @default 1 MiB */
  readonly bodyLimitBytes?: number | undefined
}

/** How JSON Web Tokens are checked: by a shared secret (HS256) or by the public keys at an address (RS256). */
export interface JwtConfig {
  readonly secret?: string | undefined
  readonly jwksUrl?: string | undefined
  readonly issuer?: string | undefined
  readonly audience?: string | undefined
  /** Claim that holds the scope: `read`, `write` or `admin`, alone or in a list. @default scope */
  readonly scopeClaim?: string | undefined
}

export interface WorkersConfig {
  /** Number of slots that take shared routes; 0 runs everything in one process. @default 2 */
  readonly slots: number
  readonly memoryLimitMb: number | undefined
  /** A worker whose event loop stands still for so long is replaced; 0 never. @default 30_000 */
  readonly stallMs: number
}

export interface LogConfig {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'fatal' | 'silent'
  readonly format: 'json' | 'text' | 'pretty'
  /** Adds file and line of the caller to each line. @default false */
  readonly includeCaller?: boolean
  /** The file that takes the log instead of standard output. */
  readonly file?: LogFileConfig | undefined
  /** `udp://host:port` or `tcp://host:port`; takes the log besides. */
  readonly syslog?: string | undefined
}

export interface LogFileConfig {
  /** Absolute. */
  readonly path: string
  /** Size at which it is set aside. @default 20 MiB */
  readonly maxBytes: number
  /** Files set aside that are kept. @default 10 */
  readonly keep: number
}

export interface TraceConfig {
  /** Base address of an OTLP receiver over HTTP. */
  readonly endpoint: string
  readonly headers: Readonly<Record<string, string>>
  readonly service: string
  /** Share of the traces begun here that are sent. */
  readonly ratio: number
}
