import { duration, flag, integer, list, matching, text } from '../kinds.js'
import { setting } from '../setting.js'

/** Application and workers. */
export const APP_SETTINGS = {
  appName: setting({
    path: 'app.name',
    names: ['APP_NAME'],
    kind: text(),
    fallback: 'RouteMQ',
    about: 'Name of the application, as logs and /health show it.',
  }),
  dataDir: setting({
    path: 'app.data_dir',
    names: ['ROUTEMQ_DATA_DIR'],
    kind: text('a folder'),
    fallback: 'data',
    about: 'Where files are kept: database, spools, instance id. Relative to the application.',
  }),
  instance: setting({
    path: 'app.instance',
    names: ['ROUTEMQ_INSTANCE'],
    kind: matching(/^[A-Za-z0-9_.-]{1,64}$/, '1 to 64 letters, digits, dots, dashes or underscores'),
    about: 'Id of this installation in client ids and records; else a random one, kept in the data folder.',
  }),
  demo: setting({
    path: 'app.demo',
    names: ['ROUTEMQ_DEMO'],
    kind: flag(),
    about: 'Forces demo mode on or off; else it is on when no broker, database, device or port is configured.',
  }),
  nodeEnv: setting({
    path: 'app.environment',
    names: ['NODE_ENV'],
    kind: text(),
    about: '`production` switches demo mode off and asks for a broker.',
  }),
  apiKeys: setting({
    path: 'app.api_keys',
    names: ['ROUTEMQ_API_KEYS'],
    kind: list(),
    fallback: [],
    secret: 'file',
    effect: 'workers',
    about: 'Keys that the `auth` middleware accepts in `api_key` of a payload; empty lets everyone in.',
  }),
  shutdown: setting({
    path: 'app.shutdown_timeout',
    names: ['ROUTEMQ_SHUTDOWN_TIMEOUT'],
    kind: duration(100, 600_000),
    fallback: 8_000,
    about: 'How long a stop waits for work in flight.',
  }),
  workers: setting({
    path: 'workers.slots',
    names: ['ROUTEMQ_WORKERS'],
    kind: integer(0, 64),
    fallback: 2,
    effect: 'workers',
    about: 'Worker slots that take shared routes; 0 runs everything in one process.',
  }),
  workerMemory: setting({
    path: 'workers.memory_limit_mb',
    names: ['ROUTEMQ_WORKER_MEMORY_MB'],
    kind: integer(32, 65_536),
    about: 'A worker whose memory exceeds this is replaced. Megabytes; unset is no limit.',
  }),
  workerStall: setting({
    path: 'workers.stall',
    names: ['ROUTEMQ_WORKER_STALL'],
    kind: duration(0, 3_600_000),
    fallback: 30_000,
    about: 'A worker whose event loop stands still for so long is killed and replaced; 0 never.',
  }),
} as const
