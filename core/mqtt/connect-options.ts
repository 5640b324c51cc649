import { readFileSync } from 'node:fs'
import { type IClientOptions, UniqueMessageIdProvider } from 'mqtt'
import type { MqttConfig } from '../config/config.js'
import { RouteMQError } from '../support/errors.js'
import { NoStore } from './no-store.js'

export type ProtocolVersion = 4 | 5

/** Last will and its retained counterpart (MQTT 5.0, 3.1.2.5). */
export interface LinkStatus {
  readonly topic: string
  readonly online: string
  readonly offline: string
}

export interface ConnectRequest {
  readonly config: MqttConfig
  readonly url: string
  readonly clientId: string
  readonly protocol: ProtocolVersion
  /** Whether the broker forgets what it kept for this client id. */
  readonly clean: boolean
  /** How long the broker keeps the session after a loss of the connection; MQTT 5 only. */
  readonly sessionExpirySeconds: number
  /** QoS 1 and 2 messages the broker may send ahead of acknowledgements; MQTT 5 only. */
  readonly receiveMaximum?: number
  readonly status?: LinkStatus | undefined
}

const PROTOCOLS: Readonly<Record<string, 'mqtt' | 'mqtts' | 'ws' | 'wss'>> = {
  'mqtt:': 'mqtt',
  'tcp:': 'mqtt',
  'mqtts:': 'mqtts',
  'ssl:': 'mqtts',
  'tls:': 'mqtts',
  'ws:': 'ws',
  'wss:': 'wss',
}

/** MQTT 5 lets a broker discard what is larger than this; our own bound on payloads lies far below, so that it can answer. */
const PACKET_HEADROOM = 16

/**
 * The one place that turns configuration into options of mqtt.js. Each connection is one client object that never
 * reconnects and stores nothing: what to do after a loss is decided by its owner.
 *
 * @throws CONFIG_INVALID for a URL that is none, or a certificate file that cannot be read.
 */
export function connectOptions(request: ConnectRequest): IClientOptions {
  const { config, protocol, clean, status } = request
  const url = parseUrl(request.url)
  const username = config.username ?? (url.username === '' ? undefined : decodeURIComponent(url.username))
  const password = config.password ?? (url.password === '' ? undefined : decodeURIComponent(url.password))
  const scheme = PROTOCOLS[url.protocol]!
  return {
    protocol: scheme,
    host: url.hostname.replace(/^\[|\]$/g, ''),
    ...(url.port === '' ? {} : { port: Number(url.port) }),
    ...(scheme.startsWith('ws') ? { path: `${url.pathname || '/'}${url.search}` } : {}),
    ...(scheme === 'mqtts' || scheme === 'wss' ? tlsOptions(config.tls) : {}),
    ...(username === undefined ? {} : { username }),
    ...(password === undefined ? {} : { password }),
    clientId: request.clientId,
    protocolVersion: protocol,
    clean,
    keepalive: config.keepaliveSeconds,
    reconnectPeriod: 0,
    connectTimeout: 10_000,
    resubscribe: false,
    queueQoSZero: false,
    // Its debugging calls are a tenth of what a received message costs, even while nobody listens (benchmarks/cases/receive.ts).
    ...(process.env.DEBUG === undefined ? { log: silent } : {}),
    // A buffer for each of 65,536 numbers, made beforehand: 6 MB of every process.
    writeCache: false,
    messageIdProvider: new UniqueMessageIdProvider(),
    outgoingStore: new NoStore(),
    ...(protocol === 5
      ? {
          properties: {
            sessionExpiryInterval: clean ? 0 : request.sessionExpirySeconds,
            maximumPacketSize: Math.min(268_435_455, config.maxPacketBytes * PACKET_HEADROOM),
            ...(request.receiveMaximum === undefined
              ? {}
              : { receiveMaximum: Math.min(65_535, Math.max(1, request.receiveMaximum)) }),
          },
        }
      : {}),
    ...(status === undefined
      ? {}
      : { will: { topic: status.topic, payload: Buffer.from(status.offline), qos: 1 as const, retain: true } }),
  }
}

function silent(): void {}

/** The URL without its password, for logs and errors. */
export function printableUrl(url: string): string {
  return url.replace(/\/\/([^@/]*)@/, (_, userinfo: string) => `//${userinfo.split(':')[0]}@`)
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || PROTOCOLS[url.protocol] === undefined || url.hostname === '') {
    throw new RouteMQError(
      'CONFIG_INVALID',
      `"${printableUrl(text)}" is no broker URL; write mqtt://host:1883, or mqtts, ws or wss`,
    )
  }
  return url
}

function tlsOptions(tls: MqttConfig['tls']): Pick<IClientOptions, 'ca' | 'cert' | 'key' | 'rejectUnauthorized'> {
  return {
    rejectUnauthorized: tls.rejectUnauthorized,
    ...(tls.ca === undefined ? {} : { ca: pem(tls.ca, 'certificate authority') }),
    ...(tls.cert === undefined ? {} : { cert: pem(tls.cert, 'client certificate') }),
    ...(tls.key === undefined ? {} : { key: pem(tls.key, 'client key') }),
  }
}

/** Files are read for each connection, so that a renewed certificate needs no restart. */
function pem(fileOrText: string, what: string): string {
  if (fileOrText.startsWith('-----BEGIN')) return fileOrText
  try {
    return readFileSync(fileOrText, 'utf8')
  } catch (error) {
    throw new RouteMQError('CONFIG_INVALID', `the ${what} file "${fileOrText}" for the broker cannot be read`, {
      details: { file: fileOrText },
      cause: error,
    })
  }
}
