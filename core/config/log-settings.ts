import { resolve } from 'node:path'
import type { LogConfig, LogFileConfig, TraceConfig } from './config.js'
import type { Resolved, Values } from './resolve.js'

const DEFAULT_FILE = 'logs/routemq.log'

/** What of the log goes where, and how it looks. */
export function logSettings(
  { values, origins }: Resolved,
  root: string,
  terminal: boolean,
  warnings: string[],
): LogConfig {
  const format = origins.get('logFormat')
  const json = origins.get('logJson')
  const pattern = format?.text.includes('%(') === true
  if (pattern) warnings.push('LOG_FORMAT is a pattern of Python logging, which has no counterpart here: text is used.')
  const asked = values.logJson === undefined ? undefined : values.logJson ? 'json' : 'text'
  const rival =
    asked !== undefined && values.logFormat !== undefined && (asked === 'json') !== (values.logFormat === 'json')
  // A pattern says how text looks, LOG_JSON=true says it shall not be text.
  const jsonWins =
    json !== undefined && (format === undefined || json.rank < format.rank || (pattern && asked === 'json'))
  if (rival) {
    const [won, lost] = jsonWins ? [json, format] : [format, json]
    warnings.push(`${won?.name} (${won?.from}) is used; ${lost?.name} (${lost?.from}) names the same thing and is not.`)
  }
  const file = logFile(values, root)
  const chosen = (jsonWins ? asked : values.logFormat) ?? (terminal && file === undefined ? 'pretty' : 'text')
  return { level: values.logLevel!, format: chosen, includeCaller: values.logCaller!, file, syslog: values.logSyslog }
}

function logFile(values: Values, root: string): LogFileConfig | undefined {
  const named = values.logFile ?? (values.logToFile === true ? DEFAULT_FILE : undefined)
  if (named === undefined || values.logToFile === false) return undefined
  return { path: resolve(root, named), maxBytes: values.logFileSize!, keep: values.logFileCount! }
}

export function traceSettings(values: Values): TraceConfig | undefined {
  if (values.traceEndpoint === undefined) return undefined
  const headers = values.traceHeaders!.map((pair) => {
    const at = pair.indexOf('=')
    // As the OpenTelemetry specification has it: values are percent-encoded.
    return [pair.slice(0, at).trim(), decodeText(pair.slice(at + 1).trim())] as const
  })
  return {
    endpoint: values.traceEndpoint,
    headers: Object.fromEntries(headers),
    service: values.traceService ?? values.appName!,
    ratio: values.traceRatio!,
  }
}

function decodeText(value: string): string {
  try {
    return decodeURIComponent(value)
  } catch {
    return value // a lone percent sign: meant as it stands
  }
}
