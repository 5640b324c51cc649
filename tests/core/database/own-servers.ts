import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { chown, copyFile, mkdir, mkdtemp, readdir, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir, userInfo } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import mysql from 'mysql2/promise'
import pg from 'pg'
import type { DatabaseConfig } from '../../../core/config/config.js'
import { freePort } from '../support/free-port.js'

const run = promisify(execFile)

/** A database server of a test's own, that it may stop and kill. */
export interface OwnServer {
  readonly config: Extract<DatabaseConfig, { url: string }>
  start(): Promise<void>
  /** An orderly shutdown. */
  stop(): Promise<void>
  /** SIGKILL. */
  kill(): Promise<void>
  /** Holds everything it does, answers nothing. */
  freeze(): void
  thaw(): void
  remove(): Promise<void>
}

/** An extension that this server alone knows. */
export interface OwnExtension {
  readonly name: string
  readonly version: string
  readonly sql: string
}

export async function ownServer(kind: 'postgres' | 'mysql', extension?: OwnExtension): Promise<OwnServer> {
  const dir = await mkdtemp(join(tmpdir(), `routemq-${kind}-`))
  const user = kind === 'postgres' ? 'postgres' : 'mysql'
  // The servers refuse to run as root.
  const as: Ids = userInfo().uid === 0 ? await idsOf(user) : {}
  if (as.uid !== undefined && as.gid !== undefined) await chown(dir, as.uid, as.gid)
  const port = await freePort()
  return kind === 'postgres' ? postgres(dir, port, as, extension) : mariadb(dir, port, as)
}

interface Ids {
  readonly uid?: number
  readonly gid?: number
}

async function postgres(dir: string, port: number, as: Ids, extension?: OwnExtension): Promise<OwnServer> {
  const installed = await newestPostgres()
  const bin = extension === undefined ? installed : await withExtension(installed, dir, extension)
  const data = join(dir, 'data')
  await run(join(bin, 'initdb'), ['-D', data, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--no-sync'], as)
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`
  const args = ['-D', data, '-p', String(port), '-k', dir, '-c', 'listen_addresses=127.0.0.1']
  return server({
    dir,
    command: [join(bin, 'postgres'), args, as],
    stopSignal: 'SIGINT',
    config: { kind: 'postgres', url, poolSize: 4, echo: false },
    async answers() {
      const client = new pg.Client({ connectionString: url, connectionTimeoutMillis: 1_000 })
      client.on('error', () => {}) // a server that is only just coming up may drop us
      await client.connect()
      await client.query('select 1')
      await client.end()
    },
  })
}

/**
 * An installation in `dir` that is the installed one but for the extension: PostgreSQL looks for its files relative to its
 * program, so that is copied, and the rest are links. Gives its folder of programs.
 */
async function withExtension(installed: string, dir: string, { name, version, sql }: OwnExtension): Promise<string> {
  const [, release] = /postgresql\/([^/]+)\/bin$/.exec(installed)!
  const bin = join(dir, 'lib/postgresql', release!, 'bin')
  const share = join(dir, 'share/postgresql', release!)
  const installedShare = join('/usr/share/postgresql', release!)
  const own = join(share, 'extension')
  await Promise.all([mkdir(bin, { recursive: true }), mkdir(own, { recursive: true })])
  for (const program of ['postgres', 'initdb']) await copyFile(join(installed, program), join(bin, program))
  await symlink(join(installed, '../lib'), join(bin, '../lib'))
  for (const entry of await readdir(installedShare)) {
    if (entry !== 'extension') await symlink(join(installedShare, entry), join(share, entry))
  }
  for (const entry of await readdir(join(installedShare, 'extension'))) {
    await symlink(join(installedShare, 'extension', entry), join(own, entry))
  }
  await writeFile(join(own, `${name}.control`), `default_version = '${version}'\nrelocatable = false\n`)
  await writeFile(join(own, `${name}--${version}.sql`), sql)
  return bin
}

async function mariadb(dir: string, port: number, as: Ids): Promise<OwnServer> {
  const data = join(dir, 'data')
  await run(
    'mariadb-install-db',
    ['--no-defaults', `--datadir=${data}`, '--auth-root-authentication-method=normal', '--skip-test-db'],
    as,
  )
  const url = `mysql://root@127.0.0.1:${port}/own`
  const args = ['--no-defaults', `--datadir=${data}`, `--port=${port}`, `--socket=${join(dir, 's')}`]
  return server({
    dir,
    command: ['mariadbd', [...args, '--bind-address=127.0.0.1', `--pid-file=${join(dir, 'pid')}`], as],
    stopSignal: 'SIGTERM',
    config: { kind: 'mysql', url, poolSize: 4, echo: false },
    async answers() {
      const connection = await mysql.createConnection({ uri: url.replace(/own$/, ''), connectTimeout: 1_000 })
      await connection.query('create database if not exists own')
      await connection.end()
    },
  })
}

function server(options: {
  dir: string
  command: [string, string[], Ids]
  stopSignal: NodeJS.Signals
  config: OwnServer['config']
  answers: () => Promise<void>
}): OwnServer {
  let child: ChildProcess | undefined
  const end = async (signal: NodeJS.Signals) => {
    if (child === undefined) return
    // One that ended by itself says so no second time.
    if (child.exitCode !== null || child.signalCode !== null) return
    const exited = once(child, 'exit')
    child.kill(signal)
    await exited
    child = undefined
  }
  return {
    config: options.config,
    async start() {
      const until = Date.now() + 120_000
      for (;;) {
        if (child === undefined || child.exitCode !== null || child.signalCode !== null) {
          const [program, args, as] = options.command
          child = spawn(program, args, { stdio: 'ignore', ...as })
        }
        await new Promise((resolve) => setTimeout(resolve, 100))
        const up = await options.answers().then(
          () => true,
          () => false,
        )
        if (up) return
        if (Date.now() > until) throw new Error(`${options.command[0]} does not come up`)
      }
    },
    stop: () => end(options.stopSignal),
    kill: () => end('SIGKILL'),
    freeze: () => signalAll(child, 'SIGSTOP'),
    thaw: () => signalAll(child, 'SIGCONT'),
    async remove() {
      await end('SIGKILL')
      await rm(options.dir, { recursive: true, force: true, maxRetries: 20, retryDelay: 100 })
    },
  }
}

/** A server and its own children: PostgreSQL has a process a connection. */
function signalAll(child: ChildProcess | undefined, signal: NodeJS.Signals): void {
  if (child?.pid === undefined) return
  const children = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8').split(' ').filter(Boolean)
  for (const pid of [child.pid, ...children.map(Number)]) {
    try {
      process.kill(pid, signal)
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error // ended since it was listed
    }
  }
}

async function idsOf(user: string): Promise<{ uid: number; gid: number }> {
  const [uid, gid] = await Promise.all(['-u', '-g'].map(async (flag) => Number((await run('id', [flag, user])).stdout)))
  return { uid: uid!, gid: gid! }
}

async function newestPostgres(): Promise<string> {
  const { stdout } = await run('sh', ['-c', 'ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1'])
  return stdout.trim()
}

/** Why servers of one's own cannot be had here; undefined where they can. Rejects where they are required. */
export async function whyNoServers(): Promise<string | undefined> {
  try {
    await run('sh', [
      '-c',
      'command -v mariadb-install-db && command -v mariadbd && ls /usr/lib/postgresql/*/bin/initdb',
    ])
    return undefined
  } catch {
    const missing = 'initdb, mariadb-install-db or mariadbd is not installed'
    if (process.env.ROUTEMQ_TEST_SERVICES === 'required') {
      throw new Error(`ROUTEMQ_TEST_SERVICES=required, and ${missing}`)
    }
    return missing
  }
}
