import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Config } from '../config/config.js'
import { loadConfig } from '../config/load-config.js'
import { registerLoader } from '../config/typescript-loader.js'
import { loadApp } from '../kernel/application.js'
import { Gateway } from '../kernel/gateway.js'
import { PublishingLink } from '../mqtt/publishing-link.js'
import { silentLogger } from '../observability/logger.js'
import type { CallOptions } from '../router/context.js'
import { systemClock } from '../support/clock.js'

export interface TestAppOptions {
  /** Folder of the application, a path or a file URL. */
  readonly root: string | URL
  /** Settings for this application alone; the environment and `.env` are not read. @default those of demo mode */
  readonly env?: Readonly<Record<string, string>>
}

/** An application in this process, on real sockets: embedded broker, SQLite in a folder of its own, virtual devices. */
export interface TestApp {
  readonly brokerUrl: string
  readonly httpUrl: string
  /** Sends a command and resolves with its answer. @throws RouteMQError the error it was answered with, or CALL_TIMEOUT */
  command(topic: string, payload: object, options?: CallOptions): Promise<unknown>
  /** Calls the sidecar with the credentials of this run. */
  fetch(path: string, init?: RequestInit): Promise<Response>
  /** Stops everything and removes the data folder. */
  stop(): Promise<void>
}

/**
 * Starts an application for a test. Free ports, its own data folder, no worker processes, no log.
 *
 * @throws RouteMQError CONFIG_INVALID, ROUTER_INVALID and whatever else keeps an application from starting
 */
export async function startTestApp(options: TestAppOptions): Promise<TestApp> {
  const root = options.root instanceof URL ? fileURLToPath(options.root) : options.root
  const folder = mkdtempSync(join(tmpdir(), 'routemq-test-'))
  // By the loader of the tests, so that they and the application share their modules.
  await registerLoader()
  const { config } = loadConfig({
    root,
    env: { ROUTEMQ_DEMO: 'true', ROUTEMQ_DATA_DIR: folder, ...options.env },
    flags: { workers: 0 },
  })
  const gateway = new Gateway({
    app: await loadApp(root),
    config: forTests(config, folder),
    warnings: [],
    logger: silentLogger,
    clock: systemClock,
    onFatal: (error) => {
      throw error
    },
  })
  await gateway.start()
  const { broker, http } = gateway.running
  const link = new PublishingLink({
    config: config.mqtt,
    url: broker.url,
    clientId: `test-${process.pid}-${Date.now()}`,
    logger: silentLogger,
  })
  await link.start()
  return {
    brokerUrl: broker.url,
    httpUrl: http!.url,
    command: (topic, payload, how) => link.call(topic, payload, how),
    fetch: (path, init = {}) =>
      fetch(http!.url + path, { ...init, headers: { authorization: `Bearer ${http!.token}`, ...init.headers } }),
    async stop() {
      await link.stop()
      await gateway.stop()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}

function forTests(config: Config, folder: string): Config {
  return {
    ...config,
    app: { ...config.app, runDir: join(folder, 'run'), shutdownMs: 2_000 },
    mqtt: { ...config.mqtt, embedded: { port: 0, mayMove: true } },
    http: { ...config.http, port: 0 },
    log: { ...config.log, level: 'silent' },
  }
}
