import type { Registry } from './program.js'

type Register = (registry: Registry) => void

/** In the order of the help. A name that ends with a colon stands for all that begin with it. */
const COMMANDS: readonly { readonly names: readonly string[]; readonly load: () => Promise<Register> }[] = [
  { names: ['init'], load: async () => (await import('./commands/init.js')).registerInit },
  { names: ['run'], load: async () => (await import('./commands/run.js')).registerRun },
  { names: ['route:list'], load: async () => (await import('./commands/route-list.js')).registerRouteList },
  { names: ['route:match'], load: async () => (await import('./commands/route-match.js')).registerRouteMatch },
  { names: ['make:'], load: async () => (await import('./commands/make.js')).registerMake },
  { names: ['test'], load: async () => (await import('./commands/test.js')).registerTest },
  { names: ['migrate', 'migrate:'], load: async () => (await import('./commands/migrate.js')).registerMigrate },
  { names: ['backup', 'restore'], load: async () => (await import('./commands/backup.js')).registerBackup },
  { names: ['pub'], load: async () => (await import('./commands/pub.js')).registerPub },
  { names: ['sub'], load: async () => (await import('./commands/sub.js')).registerSub },
  { names: ['device:list'], load: async () => (await import('./commands/device-list.js')).registerDeviceList },
  { names: ['device:read'], load: async () => (await import('./commands/device-read.js')).registerDeviceRead },
  { names: ['device:write'], load: async () => (await import('./commands/device-write.js')).registerDeviceWrite },
  { names: ['device:call'], load: async () => (await import('./commands/device-call.js')).registerDeviceCall },
  { names: ['device:watch'], load: async () => (await import('./commands/device-watch.js')).registerDeviceWatch },
  { names: ['device:plan'], load: async () => (await import('./commands/device-plan.js')).registerDevicePlan },
  { names: ['device:scan'], load: async () => (await import('./commands/device-scan.js')).registerDeviceScan },
  { names: ['device:decode'], load: async () => (await import('./commands/device-decode.js')).registerDeviceDecode },
  {
    names: ['device:identify'],
    load: async () => (await import('./commands/device-identify.js')).registerDeviceIdentify,
  },
  {
    names: ['device:simulate'],
    load: async () => (await import('./commands/device-simulate.js')).registerDeviceSimulate,
  },
  { names: ['device:import'], load: async () => (await import('./commands/device-import.js')).registerDeviceImport },
  { names: ['device:export'], load: async () => (await import('./commands/device-export.js')).registerDeviceExport },
  { names: ['import'], load: async () => (await import('./commands/import.js')).registerImport },
  { names: ['worker:'], load: async () => (await import('./commands/worker.js')).registerWorker },
  { names: ['dead:'], load: async () => (await import('./commands/dead.js')).registerDead },
  { names: ['key:'], load: async () => (await import('./commands/key.js')).registerKey },
  { names: ['config:show'], load: async () => (await import('./commands/config-show.js')).registerConfigShow },
  { names: ['doctor'], load: async () => (await import('./commands/doctor.js')).registerDoctor },
]

/**
 * The commands that a command line may mean: the one it names, which alone is loaded then, or all of them, where it asks for
 * help or names none. What all commands load together takes longer than most of them run.
 */
export function commandsFor(argv: readonly string[]): Promise<Register[]> {
  const word = commandWord(argv)
  const named = COMMANDS.filter(({ names }) => word !== undefined && names.some((name) => isNamed(name, word)))
  const wantsHelp = argv.some((argument) => argument === '--help' || argument === '-h')
  const wanted = named.length === 0 || wantsHelp ? COMMANDS : named
  return Promise.all(wanted.map(({ load }) => load()))
}

function isNamed(name: string, word: string): boolean {
  return name.endsWith(':') ? word.startsWith(name) : word === name
}

/** The first word that is neither a flag of the program nor the value of one. */
function commandWord(argv: readonly string[]): string | undefined {
  return argv.find((word, at) => !word.startsWith('-') && argv[at - 1] !== '--root')
}
