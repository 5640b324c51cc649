import { InvalidArgumentError } from 'commander'
import { RouteMQError, toErrorShape } from '../../support/errors.js'
import { EXIT } from '../exit-codes.js'
import type { Registry } from '../program.js'
import { RunningProduct } from '../running-product.js'

interface Outcome {
  created: number
  /** Already there. */
  kept: number
  readonly refused: { readonly what: string; readonly code: string; readonly message: string }[]
}

/** `routemq import nexusbus DATABASE_URL`: devices and polling targets of a NexusBus installation, into the running product. */
export function registerImport({ program, action }: Registry): void {
  program
    .command('import')
    .description('take devices and polling targets from another system; what is already here stays as it is')
    .argument('<system>', 'nexusbus', systemArgument)
    .argument('<url>', 'its database: postgresql://… or sqlite:///file')
    .option('--dry-run', 'only say what is there')
    .option('--force', 'also targets that would overload their bus')
    .action((_system: string, url: string, { dryRun, force }: { dryRun?: boolean; force?: boolean }) =>
      action(async ({ root, out, err, signal }, json) => {
        // Database drivers are loaded by those who need them.
        const { readNexusBus } = await import('../nexusbus/read-nexusbus.js')
        const { devices, targets } = await readNexusBus(url, root)
        if (dryRun === true) {
          const facts = { devices: devices.length, targets: targets.length, dry_run: true }
          out(json ? JSON.stringify(facts) : `${facts.devices} devices and ${facts.targets} polling targets are there`)
          return EXIT.ok
        }
        const product = RunningProduct.need(root, signal)
        const outcome = { devices: nothingYet(), targets: nothingYet() }
        for (const device of devices) {
          await create(outcome.devices, `device ${device.device_id}`, () =>
            product.call('POST', '/api/admin/devices', device),
          )
        }
        const known = new Set((await product.call<Record<string, unknown>[]>('GET', '/api/admin/polling')).map(placeOf))
        const path = `/api/admin/polling${force === true ? '?force=true' : ''}`
        for (const target of targets) {
          if (known.has(placeOf(target))) outcome.targets.kept += 1
          else await create(outcome.targets, `target ${placeOf(target)}`, () => product.call('POST', path, target))
        }
        if (json) out(JSON.stringify(outcome, null, 2))
        else {
          for (const [name, { created, kept, refused }] of Object.entries(outcome)) {
            out(`${name}: ${created} created, ${kept} already here, ${refused.length} refused`)
            for (const { what, code, message } of refused) err(`  ${what}: ${code}: ${message}`)
          }
        }
        return outcome.devices.refused.length + outcome.targets.refused.length === 0 ? EXIT.ok : EXIT.refused
      }),
    )
}

function nothingYet(): Outcome {
  return { created: 0, kept: 0, refused: [] }
}

/** One that is refused does not hold up the others; a product that went away does. */
async function create(outcome: Outcome, what: string, post: () => Promise<unknown>): Promise<void> {
  try {
    await post()
    outcome.created += 1
  } catch (error) {
    if (error instanceof RouteMQError && error.code === 'NOT_RUNNING') throw error
    const { code, message } = toErrorShape(error)
    if (code === 'DEVICE_EXISTS') outcome.kept += 1
    else outcome.refused.push({ what, code, message })
  }
}

/** Device, register type, address and count: what makes two targets one. */
function placeOf({
  device_id,
  register_type = 'holding',
  address,
  count = 1,
}: Readonly<Record<string, unknown>>): string {
  return `${device_id} ${register_type} ${address} ${count}`
}

function systemArgument(text: string): string {
  if (text === 'nexusbus') return text
  throw new InvalidArgumentError('Want nexusbus.')
}
