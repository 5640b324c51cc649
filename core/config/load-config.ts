import { accessSync, constants, existsSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { chooseBroker } from './broker-settings.js'
import type { Config, HttpConfig, JwtConfig } from './config.js'
import { chooseDatabase } from './database-settings.js'
import { deepFreeze } from './freeze.js'
import { instanceId } from './instance.js'
import { logSettings, traceSettings } from './log-settings.js'
import { MASK, Mistakes } from './mistakes.js'
import { holdBack, type Resolved, resolveSettings, type Values } from './resolve.js'
import { describeSettings, type SettingReport } from './settings-report.js'
import { readSources } from './sources.js'

/** What the command line may say; it is stronger than every other source. */
export interface ConfigFlags {
  /** `--workers`: 0 to 64. */
  readonly workers?: number
}

export interface LoadConfigOptions {
  /** Folder of the application. */
  readonly root: string
  /** @default process.env */
  readonly env?: NodeJS.ProcessEnv
  readonly flags?: ConfigFlags
  /** Whether a person reads the log as it is written; then it is pretty. @default process.stdout.isTTY */
  readonly terminal?: boolean
  /** The settings of the running product: those that need a restart are taken from there. */
  readonly held?: Resolved
  /** Whether a new instance id is kept in the data folder; commands that only look around write nothing. @default true */
  readonly keepInstance?: boolean
}

export interface LoadedConfig {
  /** Deep frozen. */
  readonly config: Config
  /** Sentences to print at start: which of two names won, what has no effect. */
  readonly warnings: readonly string[]
  /** Each setting with its value (secrets masked) and where it came from, for `config:show`. */
  readonly origins: readonly SettingReport[]
  /** The bare settings behind `config`, secrets included: for `changedSettings`. */
  readonly values: Values
  /** The same with where each came from: for the `held` of a later load. */
  readonly resolved: Resolved
}

/**
 * Reads `routemq.config.*` under `.env` under the environment, and resolves them to one object.
 *
 * @throws CONFIG_INVALID with `details.mistakes`: every mistake at once, secrets masked.
 */
export function loadConfig(options: LoadConfigOptions): LoadedConfig {
  const { env = process.env, flags = {}, terminal = process.stdout.isTTY === true, keepInstance = true } = options
  const root = resolve(options.root)
  const mistakes = new Mistakes()
  const warnings: string[] = []
  const { sources, retired } = readSources(root, env, mistakes)
  if (retired.length > 0) warnings.push(`${retired.join(', ')} in .env: known from elsewhere, without effect here.`)
  const found = resolveSettings(sources, mistakes, warnings)
  const resolved = options.held === undefined ? found : holdBack(found, options.held, flags)
  const { values, origins } = resolved

  const production = values.nodeEnv === 'production'
  const dataDir = resolve(root, values.dataDir ?? 'data')
  const broker = chooseBroker(resolved, mistakes, warnings)
  const database = chooseDatabase(resolved, root, resolve(dataDir, 'routemq.db'), mistakes, warnings)
  const ending = (['mqttPort', 'plantHost', 'plantPort', 'demoPort', 'httpPort'] as const).filter((key) =>
    origins.has(key),
  )
  const configured = broker.address !== undefined || database.named || ending.length > 0
  const demo = values.demo ?? (!production && !configured)
  if (production && values.demo === true) {
    mistakes.add({ key: 'ROUTEMQ_DEMO', got: 'true beside NODE_ENV=production', want: 'false in production' })
  }
  if (production && !broker.named) {
    mistakes.add({
      key: 'MQTT_BROKER',
      got: 'nothing, with NODE_ENV=production',
      want: 'the host of the broker, or `embedded` for the one inside the product',
    })
  } else if (!demo && !broker.named) {
    warnings.push('No broker is configured: the embedded one is used. Set MQTT_BROKER to use another.')
    if (values.demo === undefined && broker.address === undefined && !database.named) {
      const names = ending.map((key) => origins.get(key)!.name)
      warnings.push(`Demo mode is off because ${names.join(', ')} is set; ROUTEMQ_DEMO=true keeps it.`)
    }
  }
  const slots = flags.workers ?? values.workers ?? 2
  if (!Number.isInteger(slots) || slots < 0 || slots > 64) {
    mistakes.add({ key: '--workers', got: String(flags.workers), want: 'an integer from 0 to 64' })
  }
  const tls = tlsSettings(resolved, root, mistakes)
  if ((values.mqttCert === undefined) !== (values.mqttKey === undefined)) {
    const present = values.mqttCert === undefined ? 'MQTT_KEY' : 'MQTT_CERT'
    mistakes.add({ key: present, got: `${present} alone`, want: 'MQTT_CERT and MQTT_KEY together' })
  }
  const http = httpSettings(resolved, demo, dataDir, mistakes)
  if (http.jwt?.jwksUrl !== undefined && http.jwt.audience === undefined) {
    warnings.push(
      'HTTP_JWKS_URL without HTTP_JWT_AUDIENCE: tokens that its issuer made for other applications are taken too.',
    )
  }
  const log = logSettings(resolved, root, terminal, warnings)
  mistakes.throwIfAny()

  const config: Config = {
    mode: demo ? 'demo' : 'normal',
    app: {
      root,
      name: values.appName!,
      dataDir,
      runDir: resolve(root, '.routemq'),
      instance: values.instance ?? instanceId(dataDir, keepInstance, (sentence) => warnings.push(sentence)),
      production,
      apiKeys: [...values.apiKeys!],
      shutdownMs: values.shutdown!,
    },
    mqtt: {
      url: broker.address?.url,
      embedded: { port: values.mqttPort ?? 1_883, mayMove: demo && values.mqttPort === undefined },
      username: values.mqttUsername ?? broker.address?.username,
      password: values.mqttPassword ?? broker.address?.password,
      clientId: values.mqttClientId!,
      groupName: values.mqttGroup!,
      protocol: values.mqttProtocol!,
      tls: { ...tls, rejectUnauthorized: values.mqttVerify! },
      keepaliveSeconds: values.mqttKeepalive!,
      sessionExpirySeconds: values.mqttSessionExpiry!,
      window: { messages: values.mqttWindowMessages!, bytes: values.mqttWindowBytes! },
      maxPacketBytes: values.mqttMaxPacket!,
      replyPrefixes: [...values.mqttReplyPrefixes!],
      outboxBytes: values.mqttOutbox!,
      ackHoldMs: values.mqttAckHold!,
    },
    database: database.config,
    keep: {
      readingDays: values.keepReadingDays!,
      readingBytes: values.keepReadingBytes!,
      eventDays: values.keepEventDays!,
      auditDays: values.keepAuditDays!,
      deadLetters: values.keepDeadLetters!,
      deadLetterBytes: values.keepDeadLetterBytes!,
      claimHours: values.keepRequestHours!,
      spoolBytes: values.spoolBytes!,
      auditSpoolBytes: values.auditSpoolBytes!,
      minFree: values.minFree! / 100,
    },
    modbus: {
      demoPort: demoDevice(values, demo),
      ...(values.plantHost === undefined
        ? {}
        : { endpoint: { host: values.plantHost, port: values.plantPort ?? 502 } }),
      breaker: { failures: values.breakerFailures!, recoveryMs: values.breakerRecovery! },
      writeEnabled: values.writeEnabled!,
      topicPrefix: values.topicPrefix!,
    },
    poller: { enabled: values.pollEnabled!, intervalMs: values.pollInterval!, cacheTtlMs: values.cacheTtl! },
    http,
    workers: { slots, memoryLimitMb: values.workerMemory, stallMs: values.workerStall! },
    log,
    trace: traceSettings(values),
  }
  const reports = describeSettings(resolved, flags)
  return { config: deepFreeze(config), warnings, origins: reports, values, resolved }
}

/** Files are named absolutely, and must be there at the start: a link reads them again for each connection. */
function tlsSettings({ values, origins }: Resolved, root: string, mistakes: Mistakes) {
  const found: { ca?: string; cert?: string; key?: string } = {}
  for (const [part, key] of [
    ['ca', 'mqttCa'],
    ['cert', 'mqttCert'],
    ['key', 'mqttKey'],
  ] as const) {
    const text = values[key]
    if (text === undefined) continue
    const pem = text.startsWith('-----BEGIN')
    found[part] = pem ? text : resolve(root, text)
    try {
      if (!pem) accessSync(found[part], constants.R_OK)
    } catch (error) {
      const code = (error as NodeJS.ErrnoException).code
      mistakes.add({
        key: origins.get(key)!.name,
        got: `${isPath(text) ? text : MASK} (${code})`,
        want: 'PEM text or a file that can be read',
      })
    }
  }
  return found
}

/** Whether a text may be the name of a file. A private key with something before its first line is not shown as one. */
function isPath(text: string): boolean {
  return text.length <= 255 && !/[\r\n]|-----BEGIN|\\n/.test(text)
}

function demoDevice(values: Values, demo: boolean): Config['modbus']['demoPort'] {
  if (values.demoDevice === false) return undefined
  if (values.demoPort !== undefined) return { port: values.demoPort, mayMove: false }
  // A real bus was named: a virtual one beside it would only confuse, unless it was asked for.
  const wanted = values.demoDevice ?? (demo && values.plantHost === undefined)
  return wanted ? { port: 5_020, mayMove: true } : undefined
}

const LOOPBACK = /^(127(\.\d{1,3}){3}|::1|localhost)$/

function httpSettings({ values, origins }: Resolved, demo: boolean, dataDir: string, mistakes: Mistakes): HttpConfig {
  const host = values.httpHost!
  const enabled = values.httpEnabled!
  const jwt = jwtSettings(values)
  // Keys may also be kept in the database: where a copy of some lies, the sidecar knows better when it starts.
  const mayHaveKeys = values.httpKeys!.length > 0 || jwt !== undefined || existsSync(join(dataDir, 'api-keys.json'))
  if (enabled && !LOOPBACK.test(host) && !mayHaveKeys) {
    mistakes.add({
      key: 'HTTP_API_KEYS',
      got: `nothing, with HTTP_HOST=${host}`,
      want: 'at least one key, or HTTP_JWT_SECRET or HTTP_JWKS_URL, because others reach that address',
    })
  }
  for (const key of ['httpJwtIssuer', 'httpJwtAudience', 'httpJwtScope'] as const) {
    const origin = origins.get(key)
    if (origin !== undefined && jwt === undefined) {
      mistakes.add({
        key: origin.name,
        got: `${origin.name} alone`,
        want: 'HTTP_JWT_SECRET or HTTP_JWKS_URL beside it',
      })
    }
  }
  return {
    enabled,
    host,
    port: values.httpPort!,
    mayMove: demo && !origins.has('httpPort'),
    apiKeys: [...values.httpKeys!],
    jwt,
    corsOrigins: [...values.httpCors!],
    rateLimit: values.httpRate === undefined || values.httpRate === 'off' ? values.httpRate : { ...values.httpRate },
    bodyLimitBytes: values.httpBody!,
  }
}

function jwtSettings(values: Values): JwtConfig | undefined {
  const { httpJwtSecret: secret, httpJwksUrl: jwksUrl } = values
  if (secret === undefined && jwksUrl === undefined) return undefined
  const { httpJwtIssuer: issuer, httpJwtAudience: audience, httpJwtScope: scopeClaim } = values
  return { secret, jwksUrl, issuer, audience, scopeClaim }
}
