import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readdirSync, statSync } from 'node:fs'
import { join, relative, resolve } from 'node:path'
import { RouteMQError } from '../../support/errors.js'
import type { CliContext } from '../context.js'
import { EXIT } from '../exit-codes.js'
import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'

interface TestOptions {
  readonly concurrency?: number
  readonly grep?: string
  readonly timeout?: number
}

/** `routemq test`: Node's test runner over the TypeScript tests of a project; Node.js 20 cannot find them by itself. */
export function registerTest({ program, action }: Registry): void {
  program
    .command('test')
    .description('run the tests of this folder (*.test.ts) with the test runner of Node.js')
    .argument('[paths...]', 'files or folders', ['tests'])
    .option('-j, --concurrency <files>', 'test files that run at a time', integerArgument(1, 64))
    .option('-g, --grep <pattern>', 'only tests whose name matches')
    .option('-t, --timeout <seconds>', 'a file that takes longer is ended and fails', integerArgument(1, 86_400))
    .action((paths: string[], options: TestOptions) =>
      action(async (context) => {
        const files = paths.flatMap((path) => testsBelow(resolve(context.root, path)))
        if (files.length === 0) throw new RouteMQError('USAGE', `There is no *.test.ts in ${paths.join(', ')}.`)
        return run(context, files, options)
      }),
    )
}

async function run(
  context: CliContext,
  files: readonly string[],
  { concurrency, grep, timeout }: TestOptions,
): Promise<number> {
  const flags = [
    ...conditions(process.execArgv),
    `--import=${import.meta.resolve('tsx')}`,
    '--test',
    ...(concurrency === undefined ? [] : [`--test-concurrency=${concurrency}`]),
    ...(timeout === undefined ? [] : [`--test-timeout=${timeout * 1_000}`]),
    ...(grep === undefined ? [] : [`--test-name-pattern=${grep}`]),
  ]
  const names = files.map((file) => relative(context.root, file))
  const child = spawn(process.execPath, [...flags, ...names], {
    cwd: context.root,
    env: context.env,
    stdio: 'inherit',
  })
  context.signal.addEventListener('abort', () => child.kill('SIGTERM'), { once: true })
  const [code] = (await once(child, 'close')) as [number | null]
  return code ?? EXIT.failure
}

/** Export conditions this process was started with: they decide which files `routemq` is, and must agree. */
function conditions(flags: readonly string[]): string[] {
  return flags.flatMap((flag, at) =>
    /^(-C|--conditions)$/.test(flag)
      ? [`--conditions=${flags[at + 1]}`]
      : flag.startsWith('--conditions=')
        ? [flag]
        : [],
  )
}

function testsBelow(path: string): string[] {
  const entry = statSync(path, { throwIfNoEntry: false })
  if (entry === undefined) throw new RouteMQError('USAGE', `There is no ${path}.`)
  if (entry.isFile()) return [path]
  return readdirSync(path, { recursive: true, encoding: 'utf8' })
    .filter((name) => /\.test\.m?[tj]s$/.test(name) && !name.split(/[\\/]/).includes('node_modules'))
    .sort()
    .map((name) => join(path, name))
}
