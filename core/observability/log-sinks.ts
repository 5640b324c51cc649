import { hostname } from 'node:os'
import type { LogConfig } from '../config/config.js'
import { isColourful, type LogDestination, standardOutput } from './create-logger.js'
import { lineFormat } from './line-format.js'
import { LogFile } from './log-file.js'
import { redactText } from './redact.js'
import { syslogMessage } from './syslog-message.js'
import { openSender } from './syslog-sender.js'

/** Takes the records of all processes, one line of JSON each, and writes them to where they were asked for. */
export interface LogSinks extends LogDestination {
  /** A line that a worker process wrote: a record, or whatever route code printed. */
  take(worker: string, stream: 'stdout' | 'stderr', line: string): void
  /** Writes what waits. */
  close(): Promise<void>
}

/** Opens what the settings name; only for a log that is collected. */
export function openLogSinks(config: LogConfig, appName: string): LogSinks {
  const stdout = standardOutput()
  const forPeople = lineFormat(config.format, isColourful())
  const print = (json: string) => {
    const line = forPeople(json)
    if (line !== undefined) stdout.write(line)
  }
  const notice = (level: string, msg: string, facts: object) =>
    `${JSON.stringify({ level, time: new Date().toISOString(), pid: process.pid, ...facts, msg })}\n`
  const inFile = lineFormat(config.format, false)
  const file =
    config.file === undefined
      ? undefined
      : new LogFile({
          ...config.file,
          fallback: (line) => stdout.write(line),
          onTrouble: (error) =>
            print(
              notice('warn', 'the log file cannot be written; until it can, the log is here', {
                file: config.file!.path,
                error: error.message,
              }),
            ),
          recovered: (lines) =>
            inFile(
              notice('warn', 'the log file can be written again; lines meanwhile went to standard output', { lines }),
            ) ?? '\n',
        })
  const syslog = config.syslog === undefined ? undefined : openSender(config.syslog)
  const sender = { hostname: hostname(), appName }
  const write = (json: string) => {
    if (file === undefined) print(json)
    else {
      const line = inFile(json)
      if (line !== undefined) file.write(line)
    }
    syslog?.send(syslogMessage(json, sender, config.format === 'json'))
  }
  return {
    write,
    take: (worker, stream, line) => write(isRecord(line) ? `${line}\n` : printed(worker, stream, line)),
    async close() {
      await Promise.all([file?.close(), syslog?.close()])
    },
  }
}

function isRecord(line: string): boolean {
  return line.startsWith('{"level":') && line.endsWith('}')
}

/** What route code wrote with `console.log`, or node before it ended, as a record. */
function printed(worker: string, stream: 'stdout' | 'stderr', line: string): string {
  const level = stream === 'stdout' ? 'info' : 'error'
  return `${JSON.stringify({ level, time: new Date().toISOString(), worker, stream, msg: redactText(line) })}\n`
}
