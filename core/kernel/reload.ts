import { type FSWatcher, watch } from 'node:fs'
import type { Config } from '../config/config.js'
import { type ConfigFlags, type LoadedConfig, loadConfig } from '../config/load-config.js'
import { changedSettings, type SettingChange } from '../config/settings-report.js'
import { configurationFiles, type DotenvMirror } from '../config/sources.js'
import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError, toErrorShape } from '../support/errors.js'

/** Editors write a file in several steps, and tools several files: what changes within this time is one change. */
const SETTLE_MS = 300

export interface ReloadOptions {
  readonly root: string
  /** As it was before `.env` was put into it. */
  readonly env: NodeJS.ProcessEnv
  readonly flags: ConfigFlags
  readonly loaded: LoadedConfig
  readonly dotenv: DotenvMirror
  /** Takes the next generation; `restartWorkers` where something changed that only new workers see. */
  readonly apply: (config: Config, restartWorkers: boolean) => Promise<void>
  /** Where `apply` failed: brings the parts that it reached back to the generation that was in force. */
  readonly takeBack: (config: Config) => Promise<void>
  /** Keeps what was asked and how it ended; resolves when that is durable. */
  readonly audit: (entry: AuditInput) => Promise<void>
  readonly logger: Logger
  readonly clock: Clock
}

/**
 * Reads the configuration again on SIGHUP and when one of its files changes. What can apply at once does, what workers must be new for
 * rolls them, what needs a restart is named; a configuration with a mistake changes nothing.
 */
export class Reload {
  readonly #options: ReloadOptions
  readonly #onSignal = () => void this.reload('SIGHUP')
  #inForce: LoadedConfig
  /** A generation that did not get everywhere and could not be taken back; the next reload carries all parts to one again. */
  #torn: { readonly restartWorkers: boolean } | undefined
  #watchers: FSWatcher[] = []
  #cancelSettle: (() => void) | undefined
  #turn: Promise<void> = Promise.resolve()
  #stopped = false

  constructor(options: ReloadOptions) {
    this.#options = options
    this.#inForce = options.loaded
  }

  start(): void {
    process.on('SIGHUP', this.#onSignal)
    this.#watch()
  }

  /** Idempotent; a reload that is under way is let finish. */
  async stop(): Promise<void> {
    this.#stopped = true
    process.off('SIGHUP', this.#onSignal)
    this.#cancelSettle?.()
    this.#unwatch()
    await this.#turn
  }

  /** One after the other; never rejects. */
  reload(reason: string): Promise<void> {
    this.#turn = this.#turn.then(() => this.#reload(reason))
    return this.#turn
  }

  async #reload(reason: string): Promise<void> {
    if (this.#stopped) return
    const { root, env, flags, dotenv, logger } = this.#options
    const before = this.#inForce
    let named: NamedChanges | undefined
    try {
      const fresh = loadConfig({ root, env, flags })
      const changes = changedSettings(before.values, fresh.values, flags)
      for (const warning of fresh.warnings) if (!before.warnings.includes(warning)) logger.warn({ reason }, warning)
      if (changes.length === 0 && this.#torn === undefined) {
        logger.info({ reason }, 'configuration read again: nothing changed')
        return
      }
      // What needs a restart stays as it is, so that all parts go on with one and the same configuration.
      const next = loadConfig({ root, env, flags, held: before.resolved })
      const restoreEnv = dotenv.refresh()
      named = namesByEffect(changes)
      const restartWorkers = this.#torn?.restartWorkers === true || changes.some(({ effect }) => effect === 'workers')
      logger.info({ reason, ...named }, sentenceOf(named) || 'the configuration is applied once more')
      await this.#apply(next, restartWorkers, restoreEnv)
      if (restartWorkers) logger.info({ reason }, 'all workers run with the new configuration')
      await this.#audit({ ...entryOf(reason, named), outcome: 'ok' })
    } catch (error) {
      logger.error(
        { reason, error: toErrorShape(error) },
        this.#torn === undefined
          ? 'the configuration was not taken; what was in force before stays in force'
          : 'the configuration did not get everywhere; the next reload (SIGHUP) applies it again',
      )
      // Refused is what was not even begun; of what got to some parts nobody knows to which.
      const outcome = named === undefined ? 'refused' : this.#torn === undefined ? 'rejected' : 'unknown'
      await this.#audit({ ...entryOf(reason, named ?? mistakenIn(error)), outcome, code: toErrorShape(error).code })
    } finally {
      // A file that was replaced is a new file to its watcher.
      if (!this.#stopped) this.#watch()
    }
  }

  async #audit(entry: AuditInput): Promise<void> {
    const { audit, logger } = this.#options
    await audit(entry).catch((error: unknown) => logger.error({ error, entry }, 'a reload could not be audited'))
  }

  /** Everywhere or, where a part cannot take it, nowhere. */
  async #apply(next: LoadedConfig, restartWorkers: boolean, restoreEnv: () => void): Promise<void> {
    const { apply, takeBack, logger } = this.#options
    this.#torn = { restartWorkers }
    try {
      await apply(next.config, restartWorkers)
      this.#inForce = next
      this.#torn = undefined
    } catch (error) {
      restoreEnv()
      try {
        await takeBack(this.#inForce.config)
        this.#torn = undefined
      } catch (second) {
        logger.error({ error: toErrorShape(second) }, 'what had taken the new configuration could not be brought back')
      }
      throw error
    }
  }

  #watch(): void {
    this.#unwatch()
    const { root, env, clock, logger } = this.#options
    for (const [folder, names] of byFolder(configurationFiles(root, env))) {
      try {
        // Folders are watched, not files: a file that is replaced, as editors and secret stores do, is seen too.
        const watcher = watch(folder, { persistent: false }, (_event, name) => {
          // Kubernetes mounts each file as a link into the folder `..data`, and changes only where that leads.
          if (name !== null && name !== '..data' && !names.has(name)) return
          this.#cancelSettle?.()
          this.#cancelSettle = clock.after(SETTLE_MS, () => void this.reload('file changed'), { unref: true })
        })
        watcher.on('error', (error) => logger.warn({ error, folder }, 'the configuration is no longer watched'))
        this.#watchers.push(watcher)
      } catch (error) {
        logger.warn({ error, folder }, 'changes of the configuration are not seen here; SIGHUP reads it again')
      }
    }
  }

  #unwatch(): void {
    for (const watcher of this.#watchers.splice(0)) watcher.close()
  }
}

interface NamedChanges {
  readonly applied: readonly string[]
  readonly workers: readonly string[]
  readonly needs_restart: readonly string[]
}

function namesByEffect(changes: readonly SettingChange[]): NamedChanges {
  const named = (effect: SettingChange['effect']) =>
    changes.filter((one) => one.effect === effect).map(({ name }) => name)
  return { applied: named('live'), workers: named('workers'), needs_restart: named('restart') }
}

/** Who sent a signal or changed a file is not known here: the entry says which of the two it was. Names, never values. */
function entryOf(reason: string, settings: object): Omit<AuditInput, 'outcome'> {
  return { actor: { kind: 'app', name: reason }, action: 'config.reload', after: settings }
}

/** The settings that a configuration has wrong. */
function mistakenIn(error: unknown): { readonly mistakes?: readonly string[] } {
  const mistakes = error instanceof RouteMQError ? error.details?.mistakes : undefined
  return Array.isArray(mistakes) ? { mistakes: mistakes.map(({ key }: { key: string }) => key) } : {}
}

function sentenceOf({ applied, workers, needs_restart }: NamedChanges): string {
  return [
    ...(applied.length === 0 ? [] : [`${applied.join(', ')} applied`]),
    ...(workers.length === 0 ? [] : [`workers restart in turn for ${workers.join(', ')}`]),
    ...(needs_restart.length === 0 ? [] : [`${needs_restart.join(', ')} will apply at the next start`]),
  ].join('; ')
}

function byFolder(files: readonly { readonly folder: string; readonly name: string }[]) {
  const folders = new Map<string, Set<string>>()
  for (const { folder, name } of files) folders.set(folder, (folders.get(folder) ?? new Set()).add(name))
  return folders
}
