import { type ConfigFlags, loadConfig } from '../config/load-config.js'
import { secretsOf } from '../config/secrets.js'
import { DotenvMirror } from '../config/sources.js'
import { prepareTypeScript } from '../config/typescript-loader.js'
import { createLogger, isCollected, setLevel } from '../observability/create-logger.js'
import { loadTracing } from '../observability/load-tracing.js'
import { hideValues } from '../observability/redact.js'
import { systemClock } from '../support/clock.js'
import { toErrorShape } from '../support/errors.js'
import { growHeapSlowly } from '../support/heap-growth.js'
import { loadApp } from './application.js'
import { Gateway } from './gateway.js'
import { Reload } from './reload.js'
import { startReport } from './report.js'
import { productVersion } from './version.js'

export interface RunOptions {
  readonly root: string
  readonly flags: ConfigFlags
}

/** `routemq --run`: starts the product, says so, and resolves with the exit code when it has ended. */
export async function runGateway({ root, flags }: RunOptions): Promise<number> {
  growHeapSlowly()
  const env = { ...process.env }
  const loaded = loadConfig({ root, flags, env })
  const { config, warnings } = loaded
  const dotenv = new DotenvMirror(root)
  dotenv.refresh()
  await prepareTypeScript(root)
  const app = await loadApp(root)
  hideValues(secretsOf(config))
  // Loaded only where it is asked for.
  const sinks = isCollected(config.log)
    ? (await import('../observability/log-sinks.js')).openLogSinks(config.log, config.app.name)
    : undefined
  const logger =
    sinks === undefined ? createLogger(config.log) : createLogger({ ...config.log, format: 'json' }, {}, sinks)
  const tracing = await loadTracing(
    config.trace,
    () => ({ instance: config.app.instance, name: 'gateway', version: productVersion() }),
    logger,
  )
  // Detached work, of a handler with `--workers 0` or of a part: its own failure, never the end of everything.
  process.on('unhandledRejection', (reason) => {
    logger.error({ error: toErrorShape(reason) }, 'a rejection was left unhandled')
  })

  return new Promise((resolve, reject) => {
    let code = 0
    const gateway = new Gateway({
      app,
      config,
      warnings,
      logger,
      ...(sinks === undefined ? {} : { onLine: sinks.take }),
      tracing,
      clock: systemClock,
      onFatal: (error) => {
        logger.fatal({ error: toErrorShape(error) }, `${error.message}; the product stops`)
        code = 1
        stop()
      },
    })
    const reload = new Reload({
      root,
      env,
      flags,
      loaded,
      dotenv,
      apply: async (next, restartWorkers) => {
        hideValues(secretsOf(next))
        setLevel(logger, next.log.level)
        await gateway.apply(next, restartWorkers)
      },
      takeBack: async (before) => {
        setLevel(logger, before.log.level)
        await gateway.takeBack(before)
      },
      audit: (entry) => gateway.audit(entry),
      logger,
      clock: systemClock,
    })
    let stopping = false
    const stop = () => {
      if (stopping) return
      stopping = true
      const began = systemClock.monotonic()
      void Promise.all([gateway.stop(), reload.stop()]).then(() => {
        process.off('SIGTERM', onSignal)
        process.off('SIGINT', onSignal)
        logger.info({ seconds: Number(((systemClock.monotonic() - began) / 1_000).toFixed(1)) }, 'stopped')
        void Promise.all([tracing?.close(), sinks?.close()]).then(() => resolve(code))
      })
    }
    const onSignal = (signal: NodeJS.Signals) => {
      if (stopping && signal === 'SIGINT') {
        logger.warn({}, 'second SIGINT: the product ends at once')
        process.exit(130)
      }
      logger.info({ signal }, 'stopping: intake ends, what is in hand is finished')
      stop()
    }
    process.on('SIGTERM', onSignal)
    process.on('SIGINT', onSignal)
    if (process.env.npm_lifecycle_event !== undefined) whenOrphaned(stop)
    // Before the start, because SIGHUP would end a process that does not listen to it; what it asks for waits for the start.
    reload.start()
    gateway.start().then(
      () => {
        if (stopping) return
        console.log(startReport(gateway.report))
      },
      (error) => {
        void Promise.all([reload.stop(), sinks?.close()]).then(() => {
          if (!stopping) reject(error)
        })
      },
    )
  })
}

/**
 * Under `npm start` a shell stands between npm and this process; it dies of a SIGTERM without passing it on. What is left
 * without its parent then ends as if the signal had reached it.
 */
function whenOrphaned(stop: () => void): void {
  const parent = process.ppid
  const watch = setInterval(() => {
    if (process.ppid === parent) return
    clearInterval(watch)
    stop()
  }, 500)
  watch.unref()
}
