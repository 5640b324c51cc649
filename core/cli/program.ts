import { type Argument, Command, CommanderError } from 'commander'
import { productVersion } from '../kernel/version.js'
import { registerBackup } from './commands/backup.js'
import { registerConfigShow } from './commands/config-show.js'
import { registerDead } from './commands/dead.js'
import { registerDeviceCall } from './commands/device-call.js'
import { registerDeviceDecode } from './commands/device-decode.js'
import { registerDeviceExport } from './commands/device-export.js'
import { registerDeviceIdentify } from './commands/device-identify.js'
import { registerDeviceImport } from './commands/device-import.js'
import { registerDeviceList } from './commands/device-list.js'
import { registerDevicePlan } from './commands/device-plan.js'
import { registerDeviceRead } from './commands/device-read.js'
import { registerDeviceScan } from './commands/device-scan.js'
import { registerDeviceSimulate } from './commands/device-simulate.js'
import { registerDeviceWatch } from './commands/device-watch.js'
import { registerDeviceWrite } from './commands/device-write.js'
import { registerDoctor } from './commands/doctor.js'
import { registerImport } from './commands/import.js'
import { registerInit } from './commands/init.js'
import { registerKey } from './commands/key.js'
import { registerMake } from './commands/make.js'
import { registerMigrate } from './commands/migrate.js'
import { registerPub } from './commands/pub.js'
import { registerRouteList } from './commands/route-list.js'
import { registerRouteMatch } from './commands/route-match.js'
import { registerRun } from './commands/run.js'
import { registerSub } from './commands/sub.js'
import { registerTest } from './commands/test.js'
import { registerWorker } from './commands/worker.js'
import { type CliContext, systemContext } from './context.js'
import { EXIT } from './exit-codes.js'
import { reportError } from './report-error.js'

/** What every `register…` gets: the program to add itself to, and the context once the flags are read. */
export interface Registry {
  readonly program: Command
  /** Called inside an action. The number it resolves with is the exit code. */
  action(run: (context: CliContext, json: boolean) => Promise<number>): Promise<void>
}

const COMMANDS: readonly ((registry: Registry) => void)[] = [
  registerInit,
  registerRun,
  registerRouteList,
  registerRouteMatch,
  registerMake,
  registerTest,
  registerMigrate,
  registerBackup,
  registerPub,
  registerSub,
  registerDeviceList,
  registerDeviceRead,
  registerDeviceWrite,
  registerDeviceCall,
  registerDeviceWatch,
  registerDevicePlan,
  registerDeviceScan,
  registerDeviceDecode,
  registerDeviceIdentify,
  registerDeviceSimulate,
  registerDeviceImport,
  registerDeviceExport,
  registerImport,
  registerWorker,
  registerDead,
  registerKey,
  registerConfigShow,
  registerDoctor,
]

/** Commands that users know as flags of the program itself. */
const AS_FLAGS: Readonly<Record<string, string>> = { '--init': 'init', '--run': 'run' }

/** Runs one command line and resolves with its exit code. Never throws. */
export async function main(argv: readonly string[], base?: Partial<CliContext>): Promise<number> {
  const stop = new AbortController()
  const abort = () => stop.abort()
  const program = new Command('routemq')
  const json = argv.includes('--json')
  let code: number = EXIT.ok
  const contextFor = (root: string): CliContext => ({ ...systemContext(root, stop.signal), ...base })
  const plain = contextFor(process.cwd())

  program
    .description(
      'MQTT-first application framework for devices. `routemq --init` makes a project, `routemq --run` runs it.',
    )
    .version(productVersion(), '-V, --version', 'print the version')
    // Rewritten to the commands of those names before anything is parsed; here they are for the help and for typing errors.
    .option('--init', 'the same as the command init')
    .option('--run', 'the same as the command run')
    .option('--root <folder>', 'folder of the application (default: the current folder)')
    .option('--json', 'print JSON instead of tables and sentences')
    .helpCommand('help [command]', 'explain a command')
    .configureHelp({
      subcommandTerm: (command) => `${command.name()} ${command.registeredArguments.map(argument).join(' ')}`.trim(),
    })
    .showHelpAfterError('See `routemq --help`.')
    .configureOutput({
      writeOut: (text) => plain.out(text.trimEnd()),
      writeErr: (text) => plain.err(text.trimEnd().replace(/^error: /, 'routemq: USAGE: ')),
    })
    .exitOverride()

  const registry: Registry = {
    program,
    async action(run) {
      const { root } = program.opts<{ root?: string }>()
      code = await run(contextFor(root ?? process.cwd()), json)
    },
  }
  for (const register of COMMANDS) register(registry)
  for (const command of program.commands) command.option('--json', 'print JSON')

  process.once('SIGINT', abort).once('SIGTERM', abort)
  try {
    await program.parseAsync(rewrite(argv), { from: 'user' })
    return code
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage
    return reportError(error, plain, json)
  } finally {
    process.off('SIGINT', abort).off('SIGTERM', abort)
  }
}

function argument(one: Argument): string {
  const name = `${one.name()}${one.variadic ? '...' : ''}`
  return one.required ? `<${name}>` : `[${name}]`
}

/** `--run --workers 0` is `run --workers 0`; flags of the program may stand before it. */
function rewrite(argv: readonly string[]): string[] {
  const at = argv.findIndex((word) => word in AS_FLAGS)
  if (at < 0) return [...argv]
  const word = AS_FLAGS[argv[at]!]!
  return [...argv.slice(0, at), word, ...argv.slice(at + 1)]
}
