import { integerArgument } from '../parse-arguments.js'
import type { Registry } from '../program.js'
import type { SimulateFlags } from '../simulated-devices.js'

/** `routemq device:simulate FILE | --device ID | --profile NAME`: virtual devices until SIGINT. */
export function registerDeviceSimulate({ program, action }: Registry): void {
  program
    .command('device:simulate')
    .description(
      'run virtual devices until Ctrl-C: of a YAML or JSON file, like a device of the plant, or of a profile',
    )
    .argument('[file]')
    .option('-d, --device <id>', 'one that has the points, unit and framing of this device')
    .option('--profile <name>', 'one that has the points of this profile')
    .option('--variables <list>', 'for the profile: name=value, with commas between')
    .option('-u, --unit <unit>', 'for the profile; 1 where it is not named', integerArgument(0, 255))
    .option(
      '-p, --port <port>',
      'where it listens, before what a file says; else a free one',
      integerArgument(0, 65_535),
    )
    .option('--line <path>', 'its end of the line, for a device on a serial one')
    .option('--fault <kind>', 'what it does wrong: silence, deaf, reset, delay=MS, exception=CODE, split=MS, …')
    .action((file: string | undefined, flags: SimulateFlags) =>
      action(async (context, json) => {
        const [{ simulatedDevices }, { startVirtualDevice }] = await Promise.all([
          import('../simulated-devices.js'),
          import('../../modbus/server/virtual-device.js'),
        ])
        const options = await simulatedDevices(context, file, flags)
        const devices: Awaited<ReturnType<typeof startVirtualDevice>>[] = []
        try {
          for (const one of options) {
            const device = await startVirtualDevice(one)
            devices.push(device)
            const units = Object.keys(one.units).map(Number)
            const where = one.line === undefined ? `${device.host}:${device.port}` : device.host
            context.out(
              json
                ? JSON.stringify({ ...device.endpoint, units })
                : `${where} (${device.endpoint.kind}), units ${units.join(', ')}`,
            )
            device.onWrite(({ unit, type, address, values }) => {
              context.out(
                json
                  ? JSON.stringify({ unit, type, address, values })
                  : `unit ${unit}: ${type} ${address} = ${values.join(', ')}`,
              )
            })
          }
          await new Promise<void>((done) => {
            if (context.signal.aborted) done()
            else context.signal.addEventListener('abort', () => done(), { once: true })
          })
          return 0
        } finally {
          await Promise.all(devices.map((device) => device.close()))
        }
      }),
    )
}
