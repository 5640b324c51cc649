import { accessSync, constants, existsSync, readdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { dirname, join } from 'node:path'
import type { Config } from '../../config/config.js'
import type { RunFile } from '../../kernel/run-file.js'
import { error, type Finding, ok, reasonOf, warning } from './finding.js'

const OLDEST_NODE = [20, 19] as const
const LOW_SHARE = 0.1
const LOW_BYTES = 512 * 1_048_576
/** A file may be this much newer than the clock: file systems round, and networks have clocks of their own. */
const CLOCK_SLACK_MS = 60_000
/** No product of this version ran before. */
const RELEASED = Date.UTC(2025, 0, 1)

export function checkNode(version: string): Finding {
  const [major = 0, minor = 0] = version.replace(/^v/, '').split('.').map(Number)
  const [wantedMajor, wantedMinor] = OLDEST_NODE
  if (major > wantedMajor || (major === wantedMajor && minor >= wantedMinor)) return ok('node', version)
  return error('node', `${version} is too old; install ${OLDEST_NODE.join('.')} or later`)
}

/** The folder is made by the first start; until then the one above it counts. */
export function checkDataFolder(dataDir: string): Finding[] {
  let folder = dataDir
  while (!existsSync(folder) && dirname(folder) !== folder) folder = dirname(folder)
  const shown = folder === dataDir ? dataDir : `${dataDir} (to be made in ${folder})`
  return [checkWritable(folder, shown), checkSpace(folder)]
}

function checkWritable(folder: string, shown: string): Finding {
  const probe = join(folder, `.routemq-doctor-${process.pid}`)
  try {
    try {
      writeFileSync(probe, 'x')
    } finally {
      // A full disk takes the name and not the byte.
      rmSync(probe, { force: true })
    }
    return ok('data folder', `${shown} can be written`)
  } catch (cause) {
    return error('data folder', `${shown} cannot be written: ${reasonOf(cause)}`)
  }
}

function checkSpace(folder: string): Finding {
  const { bavail, blocks, bsize } = statfsSync(folder)
  const free = bavail * bsize
  const text = `${gibibytes(free)} of ${gibibytes(blocks * bsize)} free`
  // Below a tenth the store stops keeping readings.
  if (blocks > 0 && bavail / blocks < LOW_SHARE) return error('disk', `${text}: below a tenth no readings are kept`)
  return free < LOW_BYTES ? warning('disk', `${text}: the caps of the store are larger`) : ok('disk', text)
}

function gibibytes(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`
}

/** What was written here before cannot be newer than now. */
export function checkClock(dataDir: string, now: number): Finding {
  const shown = new Date(now).toISOString()
  if (now < RELEASED) return error('clock', `it says ${shown}: set it, records and tokens carry its time`)
  const newest = Math.max(0, ...filesIn(dataDir).map((file) => statSync(file).mtimeMs))
  if (newest <= now + CLOCK_SLACK_MS) return ok('clock', shown)
  return warning('clock', `it says ${shown}, but files here are of ${new Date(newest).toISOString()}: was it set back?`)
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).map((name) => join(folder, name))
  } catch {
    return [] // not there yet, or told by the check of the folder
  }
}

/** Whether the product could listen where it is told to. */
export async function checkPorts(config: Config, running: RunFile | undefined): Promise<Finding[]> {
  const { http, mqtt, modbus } = config
  const wanted = [
    ...(http.enabled ? [{ what: 'port of the sidecar', ...http }] : []),
    ...(mqtt.url === undefined ? [{ what: 'port of the embedded broker', host: '127.0.0.1', ...mqtt.embedded }] : []),
    ...(modbus.demoPort === undefined
      ? []
      : [{ what: 'port of the virtual device', host: '127.0.0.1', ...modbus.demoPort }]),
  ]
  return Promise.all(
    wanted.map(async ({ what, host, port, mayMove }) => {
      if (running !== undefined) return ok(what, `the product runs (process ${running.pid})`)
      const problem = await listenProblem(host, port)
      if (problem === undefined) return ok(what, `${port} on ${host} is free`)
      if (mayMove && problem === 'EADDRINUSE') return warning(what, `${port} on ${host} is taken; another will be used`)
      return error(what, `${port} on ${host} cannot be used: ${problem}`)
    }),
  )
}

function listenProblem(host: string, port: number): Promise<string | undefined> {
  return new Promise((resolve) => {
    const server = createServer()
    server.once('error', (cause: NodeJS.ErrnoException) => resolve(cause.code ?? cause.message))
    server.listen({ host, port }, () => server.close(() => resolve(undefined)))
  })
}

/** Serial lines of active devices: there, a device, and ours to open. */
export function checkSerial(paths: readonly string[]): Finding[] {
  return [...new Set(paths)].map((path) => {
    const check = `serial ${path}`
    if (!existsSync(path)) return error(check, 'it is not there: is the adapter plugged in?')
    if (!statSync(path).isCharacterDevice()) return error(check, 'it is no serial port')
    try {
      accessSync(path, constants.R_OK | constants.W_OK)
      return ok(check, 'it can be opened')
    } catch {
      return error(check, 'it may not be opened: add the user to the group of the port (often dialout)')
    }
  })
}
