import { readFileSync } from 'node:fs'
import { dirname, resolve } from 'node:path'
import { parse } from 'yaml'
import type { DeviceRecord } from '../modbus/device-record.js'
import { endpointOf, unitOf } from '../modbus/endpoint.js'
import type { PointDefinition } from '../modbus/point.js'
import { expandProfile } from '../modbus/profile.js'
import { unitOfPoints } from '../modbus/server/simulate-points.js'
import { readFault, readSimulation } from '../modbus/server/simulation-file.js'
import type { VirtualDeviceOptions } from '../modbus/server/virtual-device.js'
import { RouteMQError } from '../support/errors.js'
import type { CliContext } from './context.js'
import { plantRecords } from './plant-records.js'

export interface SimulateFlags {
  readonly device?: string
  readonly profile?: string
  readonly variables?: string
  readonly unit?: number
  readonly port?: number
  readonly line?: string
  readonly fault?: string
}

/** The virtual devices a command line asks for: those of a file, a device of the plant, or a profile. */
export async function simulatedDevices(
  context: CliContext,
  file: string | undefined,
  flags: SimulateFlags,
): Promise<VirtualDeviceOptions[]> {
  const { device, profile } = flags
  const asked = [file, device, profile].filter((one) => one !== undefined).length
  if (asked !== 1) throw new RouteMQError('USAGE', 'Want one of a file, --device and --profile.')
  const faults = flags.fault === undefined ? {} : { faults: { '*': readFault(faultOf(flags.fault)) } }
  if (file !== undefined) {
    const path = resolve(context.root, file)
    const devices = readSimulation(parseFile(path), dirname(path))
    return devices.map((one) => ({ ...one, ...portOf(devices, flags), ...faults }))
  }
  if (device !== undefined) {
    const record = (await plantRecords(context)).devices.find(({ device_id }) => device_id === device)
    if (record === undefined) throw new RouteMQError('DEVICE_UNKNOWN', `There is no device ${device}.`)
    return [{ ...whereOf(record, flags), ...faults, units: { [unitOf(record)]: unitOfPoints(record.points) } }]
  }
  const points = await profilePoints(context, profile!, flags.variables)
  return [{ port: flags.port ?? 0, ...faults, units: { [flags.unit ?? 1]: unitOfPoints(points) } }]
}

/** What of the flags is meant for a file: those of the other two would have no effect. */
function portOf(devices: readonly VirtualDeviceOptions[], { unit, port, line, variables }: SimulateFlags) {
  const others = Object.entries({ unit, line, variables }).filter(([, value]) => value !== undefined)
  if (others.length > 0)
    throw new RouteMQError('USAGE', `--${others[0]![0]} does not go with a file: it says that itself.`)
  if (port === undefined) return {}
  if (devices.length === 1 && devices[0]!.line === undefined) return { port }
  throw new RouteMQError('USAGE', '--port goes with a file of one device that listens on a port.')
}

/** It speaks as the real one does, on a port of its own: at the real one's address may be the real one. */
function whereOf(record: DeviceRecord, { port = 0, line }: SimulateFlags): Omit<VirtualDeviceOptions, 'units'> {
  const endpoint = endpointOf(record)
  if ('path' in endpoint) {
    if (line !== undefined) return { line: { ...endpoint, path: line } }
    throw new RouteMQError(
      'USAGE',
      `Device ${record.device_id} is on a serial line: want --line with the other end of one.`,
    )
  }
  if (endpoint.kind === 'tls')
    throw new RouteMQError('USAGE', `Device ${record.device_id} speaks TLS: describe it in a file.`)
  return { kind: endpoint.kind, port }
}

async function profilePoints(
  { root }: CliContext,
  name: string,
  variables: string | undefined,
): Promise<readonly PointDefinition[]> {
  const [{ loadApp, loadProfiles }, { prepareTypeScript }] = await Promise.all([
    import('../kernel/application.js'),
    import('../config/typescript-loader.js'),
  ])
  await prepareTypeScript(root)
  const profiles = await loadProfiles(await loadApp(root))
  const use = { name, ...(variables !== undefined && { variables: variablesOf(variables) }) }
  return expandProfile({ device_id: 'simulated', profile: use }, profiles).points ?? []
}

/** `base=100,phase=L2` */
function variablesOf(text: string): Record<string, string | number> {
  return Object.fromEntries(
    text.split(',').map((pair) => {
      const [, name, value = ''] = /^\s*(\w+)\s*=\s*(.*?)\s*$/.exec(pair) ?? []
      if (name === undefined) throw new RouteMQError('USAGE', `--variables: "${pair}" is not name=value`)
      return [name, value !== '' && Number.isFinite(Number(value)) ? Number(value) : value]
    }),
  )
}

/** The number after the kind of a fault, by kind. */
const FAULT_NUMBERS: Readonly<Record<string, string>> = { delay: 'ms', split: 'ms', exception: 'code', babble: 'bytes' }

/** `delay=200`, `exception=4`, `silence` */
function faultOf(text: string): Record<string, unknown> {
  const [kind = '', number] = text.split('=')
  const field = FAULT_NUMBERS[kind]
  if (number !== undefined && field === undefined) throw new RouteMQError('USAGE', `--fault ${kind} takes no number`)
  return { kind, ...(number !== undefined && { [field!]: Number(number) }) }
}

function parseFile(path: string): unknown {
  try {
    // JSON is YAML too.
    return parse(readFileSync(path, 'utf8'))
  } catch (cause) {
    throw new RouteMQError('USAGE', `${path} cannot be read: ${(cause as Error).message}`, { cause })
  }
}
