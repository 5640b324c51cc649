import { bytes, choice, flag, integer, type Kind, text } from '../kinds.js'
import { GIB, KIB, MIB, setting } from '../setting.js'

const LEVELS = {
  trace: 'trace',
  debug: 'debug',
  info: 'info',
  warn: 'warn',
  warning: 'warn',
  error: 'error',
  fatal: 'fatal',
  critical: 'fatal',
  silent: 'silent',
  off: 'silent',
} as const

type LogFormat = 'json' | 'text' | 'pretty'
const FORMAT = choice<LogFormat>({ json: 'json', text: 'text', pretty: 'pretty' })

/** Logs. */
export const LOG_SETTINGS = {
  logLevel: setting({
    path: 'log.level',
    names: ['LOG_LEVEL'],
    kind: choice<(typeof LEVELS)[keyof typeof LEVELS]>(LEVELS),
    fallback: 'info',
    effect: 'workers',
    about: 'trace, debug, info, warn, error, fatal or silent. The gateway takes a change at once.',
  }),
  logFormat: setting({
    path: 'log.format',
    names: ['LOG_FORMAT'],
    kind: {
      want: 'json, text or pretty',
      // A pattern of Python's logging (`%(asctime)s …`) stands in many .env files; it asks for text.
      parse: (value) => (value.includes('%(') ? 'text' : FORMAT.parse(value)),
    } satisfies Kind<LogFormat>,
    about: 'json, text or pretty. Default: pretty at a terminal, else text.',
  }),
  logJson: setting({
    path: 'log.json',
    names: ['LOG_JSON'],
    kind: flag(),
    about: 'true is LOG_FORMAT=json.',
  }),
  logCaller: setting({
    path: 'log.include_caller',
    names: ['LOG_INCLUDE_CALLER'],
    kind: flag(),
    fallback: false,
    about: 'Adds file and line of the caller to each log line.',
  }),
  logToFile: setting({
    path: 'log.to_file',
    names: ['LOG_TO_FILE'],
    kind: flag(),
    about: 'false: LOG_FILE is not used; true without LOG_FILE: `logs/routemq.log`.',
  }),
  logFile: setting({
    path: 'log.file',
    names: ['LOG_FILE'],
    kind: text('a file'),
    about: 'File that takes the log instead of standard output. Relative to the application.',
  }),
  logFileSize: setting({
    path: 'log.file_max_bytes',
    names: ['LOG_FILE_SIZE', 'LOG_MAX_BYTES'],
    kind: bytes(4 * KIB, 4 * GIB),
    fallback: 20 * MIB,
    about: 'Size at which the file is set aside and compressed.',
  }),
  logFileCount: setting({
    path: 'log.file_count',
    names: ['LOG_FILE_COUNT', 'LOG_BACKUP_COUNT'],
    kind: integer(1, 1_000),
    fallback: 10,
    about: 'Files set aside that are kept; the oldest goes.',
  }),
  logSyslog: setting({
    path: 'log.syslog',
    names: ['LOG_SYSLOG'],
    kind: {
      want: 'udp://host:514 or tcp://host:601',
      parse: (value) => (/^(udp|tcp):\/\/[^\s/@]+\/?$/.test(value) && URL.canParse(value) ? value : undefined),
    } satisfies Kind<string>,
    about: 'Syslog server (RFC 5424) that takes the log besides.',
  }),
} as const
