import { spawn } from 'node:child_process'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { type AddressInfo, connect, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

export interface Mosquitto {
  readonly port: number
  readonly url: string
  stop(): Promise<void>
}

/** A broker of our own that drops nothing, on a free port. */
export async function startMosquitto(): Promise<Mosquitto> {
  const folder = await mkdtemp(join(tmpdir(), 'routemq-bench-'))
  const port = await freePort()
  const file = join(folder, 'mosquitto.conf')
  const settings = [`listener ${port} 127.0.0.1`, 'allow_anonymous true', 'max_queued_messages 0']
  await writeFile(file, `${[...settings, 'max_inflight_messages 1000', 'log_type error'].join('\n')}\n`)
  const child = spawn('mosquitto', ['-c', file], {
    stdio: 'ignore',
    env: { ...process.env, PATH: `${process.env.PATH}:/usr/sbin` },
  })
  const gone = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  child.once('error', () => {})
  const stop = async () => {
    if (child.exitCode === null && child.kill('SIGTERM')) await gone
    await rm(folder, { recursive: true, force: true })
  }
  for (let attempt = 0; !(await listens(port)); attempt += 1) {
    if (attempt === 100) {
      await stop()
      throw new Error('mosquitto did not start; is it installed?')
    }
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  return { port, url: `mqtt://127.0.0.1:${port}`, stop }
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>((resolve) => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise((resolve) => probe.close(resolve))
  return port
}

function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
