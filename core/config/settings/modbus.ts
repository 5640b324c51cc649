import { flag, integer, port, seconds, text } from '../kinds.js'
import { setting } from '../setting.js'

/** Devices and polling. */
export const MODBUS_SETTINGS = {
  demoDevice: setting({
    path: 'modbus.demo',
    names: ['MODBUS_DEMO'],
    kind: flag(),
    about: 'Starts the virtual device; default: in demo mode only.',
  }),
  demoPort: setting({
    path: 'modbus.demo_port',
    names: ['MODBUS_DEMO_PORT'],
    kind: port(),
    about: 'Port of the virtual device (5020); setting it starts the device.',
  }),
  plantHost: setting({
    path: 'modbus.host',
    names: ['PLANT_HOST', 'MODBUS_HOST'],
    kind: text('a host name or address'),
    about: 'Where the devices of the default application are; default: the virtual device.',
  }),
  plantPort: setting({
    path: 'modbus.port',
    names: ['PLANT_PORT', 'MODBUS_PORT'],
    kind: integer(1, 65_535),
    about: 'Port of PLANT_HOST (502).',
  }),
  breakerFailures: setting({
    path: 'modbus.breaker.failures',
    names: ['CIRCUIT_BREAKER_FAILURE_THRESHOLD'],
    kind: integer(1, 1_000),
    fallback: 5,
    about: 'Failures in a row after which a device fails fast.',
  }),
  breakerRecovery: setting({
    path: 'modbus.breaker.recovery_seconds',
    names: ['CIRCUIT_BREAKER_RECOVERY_TIMEOUT'],
    kind: seconds(0.1, 86_400),
    fallback: 30_000,
    about: 'Seconds until a device that fails fast is tried again.',
  }),
  writeEnabled: setting({
    path: 'modbus.write_enabled',
    names: ['MODBUS_WRITE_ENABLED'],
    kind: flag(),
    fallback: true,
    effect: 'live',
    about: 'Whether anything may be written to any device.',
  }),
  pollEnabled: setting({
    path: 'poller.enabled',
    names: ['POLL_ENABLED'],
    kind: flag(),
    fallback: true,
    effect: 'live',
    about: 'Whether polling targets are polled.',
  }),
  pollInterval: setting({
    path: 'poller.interval_seconds',
    names: ['POLL_INTERVAL_SECONDS'],
    kind: seconds(0.01, 86_400),
    fallback: 5_000,
    effect: 'live',
    about: 'Interval of targets that have none of their own, seconds.',
  }),
  cacheTtl: setting({
    path: 'poller.cache_ttl_seconds',
    names: ['CACHE_TTL_SECONDS'],
    kind: seconds(0, 86_400 * 365),
    fallback: 300_000,
    effect: 'live',
    about: 'How long a last value answers `source=cache`, seconds.',
  }),
} as const
