import { initial } from './0001-initial.js'
import { auditOnce, eventsOnce } from './0002-entries-once.js'
import { parkedBody } from './0004-parked-body.js'
import { freshReadings } from './0005-fresh-readings.js'
import { deadLetterRuns } from './0006-dead-letter-runs.js'
import { deadLetterBody, deadLetterBytes, deadLetterSums } from './0007-dead-letter-body.js'
import { auditByDevice, eventsByDevice } from './0010-entries-by-device.js'
import { longUnits } from './0012-long-units.js'
import type { Migration } from './migration.js'

/** In the order of running. Imported one by one, so that the compiled package needs no folder listing. */
export const FRAMEWORK_MIGRATIONS: readonly Migration[] = [
  initial,
  auditOnce,
  eventsOnce,
  parkedBody,
  freshReadings,
  deadLetterRuns,
  deadLetterBody,
  deadLetterBytes,
  deadLetterSums,
  auditByDevice,
  eventsByDevice,
  longUnits,
]
