import type { FieldServiceOptions } from '../../../core/modbus/field-service.js'
import { silentLogger } from '../../../core/observability/logger.js'

/** A field service as the product starts it where nothing is configured, and without a log. */
export const FIELD_SETTINGS = {
  config: {
    demoPort: undefined,
    breaker: { failures: 5, recoveryMs: 30_000 },
    writeEnabled: true,
    topicPrefix: 'modbus/data',
  },
  cacheTtlMs: 300_000,
  logger: silentLogger,
} as const satisfies FieldServiceOptions
