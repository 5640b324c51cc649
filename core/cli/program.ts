import { type Argument, Command, CommanderError } from 'commander'
import { productVersion } from '../kernel/version.js'
import { printable } from '../support/printable.js'
import { commandsFor } from './command-table.js'
import { type CliContext, systemContext } from './context.js'
import { EXIT } from './exit-codes.js'
import { reportError } from './report-error.js'

/** What every `register…` gets: the program to add itself to, and the context once the flags are read. */
export interface Registry {
  readonly program: Command
  /** Called inside an action. The number it resolves with is the exit code. */
  action(run: (context: CliContext, json: boolean) => Promise<number>): Promise<void>
}

/** Commands that users know as flags of the program itself. */
const AS_FLAGS: Readonly<Record<string, string>> = { '--init': 'init', '--run': 'run' }

/** Runs one command line and resolves with its exit code. Never throws. */
export async function main(argv: readonly string[], base?: Partial<CliContext>): Promise<number> {
  const stop = new AbortController()
  const abort = () => stop.abort()
  const program = new Command('routemq')
  const json = argv.includes('--json')
  let code: number = EXIT.ok
  const contextFor = (root: string): CliContext => {
    const context = { ...systemContext(root, stop.signal), ...base }
    return { ...context, err: (text) => context.err(printable(text)) }
  }
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
      writeErr: (text) => {
        const [, mistake] = /^error: (.*)$/s.exec(text.trimEnd()) ?? []
        if (!json) plain.err(mistake === undefined ? text.trimEnd() : `routemq: USAGE: ${mistake}`)
        // The advice that follows a mistake is for people.
        else if (mistake !== undefined) plain.err(JSON.stringify({ error: { code: 'USAGE', message: mistake } }))
      },
    })
    .exitOverride()

  const registry: Registry = {
    program,
    async action(run) {
      const { root } = program.opts<{ root?: string }>()
      code = await run(contextFor(root ?? process.cwd()), json)
    },
  }

  // Whoever read what a command prints has enough of it, as `head -1` has.
  const readerGone = (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
    abort()
  }
  if (base === undefined) process.stdout.on('error', readerGone)
  process.once('SIGINT', abort).once('SIGTERM', abort)
  try {
    const words = rewrite(argv)
    for (const register of await commandsFor(words)) register(registry)
    for (const command of program.commands) command.option('--json', 'print JSON')
    await program.parseAsync(words, { from: 'user' })
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
