import { createRequire } from 'node:module'
import type { LogConfig } from '../config/config.js'
import { printable } from '../support/printable.js'
import { textLine } from './text-line.js'

/** Turns a record, one line of JSON, into the line to write; undefined where there is nothing to say. */
export type LineFormat = (json: string) => string | undefined

export function lineFormat(format: LogConfig['format'], colorize: boolean): LineFormat {
  switch (format) {
    case 'json':
      return (json) => json
    case 'text':
      return textLine
    case 'pretty':
      return prettyFormat(colorize)
    default:
      return format satisfies never
  }
}

/** Loaded only when asked for: no worker pays for it otherwise. */
function prettyFormat(colorize: boolean): LineFormat {
  const require = createRequire(import.meta.url)
  const { prettyFactory } = require('pino-pretty') as typeof import('pino-pretty')
  const pretty = prettyFactory({ colorize, ignore: 'pid', translateTime: 'SYS:HH:MM:ss.l' })
  return (json) => pretty(JSON.parse(json, harmless))
}

/** What others sent must not drive a terminal; only a stack, which is ours, has lines of its own. */
function harmless(key: string, value: unknown): unknown {
  if (typeof value !== 'string') return value
  return key === 'stack' ? printable(value) : value.replace(/\p{Cc}/gu, '·')
}
