import { InvalidArgumentError } from 'commander'
import type { DeviceRecord, TargetRecord } from '../../modbus/device-record.js'
import type { CliContext } from '../context.js'
import { EXIT } from '../exit-codes.js'
import type { NexusBusPlant } from '../nexusbus/read-nexusbus.js'
import type { Outcome, TakenOver } from '../nexusbus/take-over.js'
import type { Registry } from '../program.js'
import { LONG_MS, RunningProduct } from '../running-product.js'

interface ImportFlags {
  readonly dryRun?: boolean
  readonly force?: boolean
}

/** `routemq import nexusbus DATABASE_URL`: devices and polling targets of a NexusBus installation, into the running product. */
export function registerImport({ program, action }: Registry): void {
  program
    .command('import')
    .description('take devices and polling targets from another system; what is already here stays as it is')
    .argument('<system>', 'nexusbus', systemArgument)
    .argument('<url>', 'its database: postgresql://… or sqlite:///file')
    .option('--dry-run', 'only say what would be taken, and what not')
    .option('--force', 'also targets that would overload their bus')
    .action((_system: string, url: string, flags: ImportFlags) =>
      action(async (context, json) => {
        // Database drivers are loaded by those who need them.
        const { readNexusBus } = await import('../nexusbus/read-nexusbus.js')
        const taken = await takenOver(context, await readNexusBus(url, context.root), flags)
        if (json) context.out(JSON.stringify({ ...taken, dry_run: flags.dryRun === true }, null, 2))
        else show(context, taken, flags.dryRun === true ? ' (checked only)' : '')
        return taken.devices.refused.length + taken.targets.refused.length === 0 ? EXIT.ok : EXIT.refused
      }),
    )
}

async function takenOver(
  { root, signal }: CliContext,
  plant: NexusBusPlant,
  { dryRun = false, force = false }: ImportFlags,
): Promise<TakenOver> {
  const { takeOver } = await import('../nexusbus/take-over.js')
  const product = RunningProduct.need(root, signal)
  const known = {
    devices: await product.call<DeviceRecord[]>('GET', '/api/admin/devices'),
    targets: await product.call<TargetRecord[]>('GET', '/api/admin/polling'),
  }
  const path = `/api/admin/plant?force=${force}&dry_run=${dryRun}`
  return takeOver(plant, known, (changes) => product.call('POST', path, changes, LONG_MS))
}

function show({ out, err }: CliContext, taken: TakenOver, remark: string): void {
  for (const [name, { created, kept, refused }] of Object.entries(taken) as [string, Outcome][]) {
    out(`${name}: ${created} created, ${kept} already here, ${refused.length} refused${remark}`)
    for (const { what, code, message } of refused) err(`  ${what}: ${code}: ${message}`)
  }
}

function systemArgument(text: string): string {
  if (text === 'nexusbus') return text
  throw new InvalidArgumentError('Want nexusbus.')
}
