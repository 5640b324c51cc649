import { randomInt, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import type { TestContext } from 'node:test'
import { Product } from '../../e2e/support/product.js'
import { makeProject } from '../../e2e/support/project.js'
import { isAlive, until } from './waiting.js'
import { SAW, Witness } from './witness.js'

export interface WorkerView {
  readonly name: string
  readonly pid: number | undefined
  readonly state: string
  readonly restarts: number
  readonly stats?: { readonly memoryMb: number; readonly lanes: readonly Record<string, unknown>[] }
}

export interface InstallationOptions {
  readonly brokerUrl: string
  /** Text of `routers/devices.ts`, which stands alone in the application. May import `saw` and `sleep` from `../app/saw.js`. */
  readonly router: string
  /** Text of `app/devices.ts`. @default no devices */
  readonly devices?: string
  readonly workers?: number
  readonly env?: Readonly<Record<string, string>>
  /** Shared with other installations. @default its own */
  readonly witness?: Witness
}

const NO_DEVICES = `import { defineDevices } from 'routemq'\nexport default defineDevices({ devices: [] })\n`

/** One installation of the product in a folder of its own: started, killed and started again as the real binary. */
export class Installation {
  readonly witness: Witness
  readonly env: Readonly<Record<string, string>>
  readonly #project: ReturnType<typeof makeProject>
  readonly #workers: number
  #product: Product | undefined

  private constructor(options: InstallationOptions) {
    this.witness = options.witness ?? new Witness()
    this.#workers = options.workers ?? 4
    const id = randomUUID().slice(0, 8)
    this.env = {
      MQTT_URL: options.brokerUrl,
      MQTT_CLIENT_ID: `proof-${id}`,
      MQTT_GROUP_NAME: `proof-${id}`,
      HTTP_PORT: '0',
      POLL_ENABLED: 'false',
      LOG_LEVEL: 'warn',
      WITNESS: this.witness.file,
      ...options.env,
    }
    this.#project = makeProject({
      'app/devices.ts': options.devices ?? NO_DEVICES,
      'app/saw.ts': SAW,
      'routers/devices.ts': options.router,
      'routers/availability.ts': `import { Router } from 'routemq'\nexport default new Router()\n`,
    })
  }

  static async start(t: TestContext, options: InstallationOptions): Promise<Installation> {
    const installation = Installation.prepare(t, options)
    await installation.up()
    return installation
  }

  /** The folder without the process. */
  static prepare(t: TestContext, options: InstallationOptions): Installation {
    const installation = new Installation(options)
    t.after(() => installation.#remove())
    return installation
  }

  get root(): string {
    return this.#project.root
  }

  get product(): Product {
    if (this.#product === undefined) throw new Error('the installation is not running')
    return this.#product
  }

  async up(env: Readonly<Record<string, string>> = {}, workers = this.#workers): Promise<void> {
    this.#product = await Product.start(this.root, {
      env: { ...this.env, ...env },
      args: ['--workers', String(workers)],
    })
  }

  /** SIGTERM. */
  async down(): Promise<void> {
    const code = await this.product.stop()
    if (code !== 0) throw new Error(`exit ${code} after SIGTERM\n${this.product.text}`)
  }

  /** SIGKILL of the gateway; resolves when it and all its workers are gone, with the time the workers took. */
  async killGateway(): Promise<number> {
    const pids = (await this.workers()).map(({ pid }) => pid).filter((pid) => pid !== undefined)
    const { child } = this.product
    const gone = once(child, 'exit')
    child.kill('SIGKILL')
    await gone
    const startedAt = performance.now()
    await until('the workers of a killed gateway end', () => !pids.some(isAlive), 10_000)
    return performance.now() - startedAt
  }

  async workers(): Promise<readonly WorkerView[]> {
    const { child } = this.product
    if (child.exitCode !== null) throw new Error(`the product ended with ${child.exitCode}:\n${this.product.text}`)
    const response = await this.product.fetch('/api/admin/workers')
    return (await response.json()) as WorkerView[]
  }

  async untilReady(limitMs = 60_000): Promise<void> {
    const ready = async () => (await this.product.fetch('/ready').catch(() => undefined))?.status === 200
    await until('/ready answers 200', ready, limitMs, () => this.product.text.slice(-4_000))
  }

  /** SIGKILL of one worker that serves, chosen at random. */
  async killAnyWorker(): Promise<string> {
    for (;;) {
      const serving = (await this.workers()).filter(({ state }) => state === 'ready')
      const victim = serving[serving.length === 0 ? 0 : randomInt(serving.length)]
      if (victim?.pid !== undefined) {
        const { pid } = victim
        process.kill(pid, 'SIGKILL')
        // Only then can it not be chosen again.
        await until(`${victim.name} is gone`, async () => !(await this.workers()).some((worker) => worker.pid === pid))
        return victim.name
      }
      await until('a worker is ready', async () => (await this.workers()).some(({ state }) => state === 'ready'))
    }
  }

  async scale(slots: number): Promise<void> {
    const { status, body } = await this.product.post('/api/admin/workers/scale', { slots })
    if (status !== 200) throw new Error(`scale answered ${status} ${JSON.stringify(body)}`)
  }

  async restart(name?: string): Promise<void> {
    const { status, body } = await this.product.post('/api/admin/workers/restart', name === undefined ? {} : { name })
    if (status !== 200) throw new Error(`restart answered ${status} ${JSON.stringify(body)}`)
  }

  async #remove(): Promise<void> {
    try {
      // Without worker processes there are none to ask about.
      const pids = this.#workers === 0 ? [] : await this.workers().catch(() => [])
      await this.#product?.stop()
      // What a failed test left of it.
      for (const { pid } of pids) if (pid !== undefined && isAlive(pid)) process.kill(pid, 'SIGKILL')
    } finally {
      this.#project.remove()
      this.witness.remove()
    }
  }
}
