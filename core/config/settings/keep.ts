import { bytes, integer } from '../kinds.js'
import { GIB, MIB, setting } from '../setting.js'

const days = () => integer(1, 36_500)

/** How long and how much is kept. */
export const KEEP_SETTINGS = {
  keepReadingDays: setting({
    path: 'keep.readings_days',
    names: ['ROUTEMQ_KEEP_READINGS_DAYS'],
    kind: days(),
    fallback: 30,
    about: 'Days readings are kept.',
  }),
  keepReadingBytes: setting({
    path: 'keep.readings_bytes',
    names: ['ROUTEMQ_KEEP_READINGS_BYTES'],
    kind: bytes(MIB, 65_536 * GIB),
    fallback: 2 * GIB,
    about: 'Bytes that readings may take in the database; over that the oldest go.',
  }),
  keepEventDays: setting({
    path: 'keep.events_days',
    names: ['ROUTEMQ_KEEP_EVENTS_DAYS'],
    kind: days(),
    fallback: 365,
    about: 'Days events are kept.',
  }),
  keepAuditDays: setting({
    path: 'keep.audit_days',
    names: ['ROUTEMQ_KEEP_AUDIT_DAYS'],
    kind: days(),
    fallback: 365,
    about: 'Days the audit is kept.',
  }),
  keepDeadLetters: setting({
    path: 'keep.dead_letters',
    names: ['ROUTEMQ_KEEP_DEAD_LETTERS'],
    kind: integer(1, 100_000_000),
    fallback: 100_000,
    about: 'Dead letters kept; over that the oldest go.',
  }),
  keepDeadLetterBytes: setting({
    path: 'keep.dead_letters_bytes',
    names: ['ROUTEMQ_KEEP_DEAD_LETTERS_BYTES'],
    kind: bytes(MIB, 65_536 * GIB),
    fallback: 512 * MIB,
    about: 'Bytes that dead letters may take in the database; over that the oldest go.',
  }),
  keepRequestHours: setting({
    path: 'keep.request_ids_hours',
    names: ['ROUTEMQ_KEEP_REQUEST_IDS_HOURS'],
    kind: integer(1, 8_760),
    fallback: 24,
    about: 'Hours the outcome of a command is remembered for a second copy of it.',
  }),
  spoolBytes: setting({
    path: 'keep.spool_bytes',
    names: ['ROUTEMQ_SPOOL_BYTES'],
    kind: bytes(MIB, 1_024 * GIB),
    fallback: GIB,
    about: 'Bytes of readings that wait on disk while the database is away; over that the oldest go.',
  }),
  auditSpoolBytes: setting({
    path: 'keep.audit_spool_bytes',
    names: ['ROUTEMQ_AUDIT_SPOOL_BYTES'],
    kind: bytes(MIB, 1_024 * GIB),
    fallback: 512 * MIB,
    about: 'Bytes of audit that wait on disk while the database is away; over that no device is written.',
  }),
  minFree: setting({
    path: 'keep.min_free_percent',
    names: ['ROUTEMQ_MIN_FREE_PERCENT'],
    kind: integer(0, 90),
    fallback: 10,
    about: 'Percent of the disk of the data folder below which readings are not stored any more.',
  }),
}
