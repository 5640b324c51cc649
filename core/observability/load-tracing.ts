import type { TraceConfig } from '../config/config.js'
import type { Logger } from './logger.js'
import type { TracedProcess } from './open-telemetry.js'
import type { Tracing } from './tracing.js'

/** What makes traces, where an endpoint is configured: only then anything of it is loaded. */
export async function loadTracing(
  config: TraceConfig | undefined,
  traced: () => TracedProcess,
  logger: Logger,
): Promise<Tracing | undefined> {
  if (config === undefined) return undefined
  const { openTelemetry } = await import('./open-telemetry.js')
  return openTelemetry(config, traced(), logger)
}
