import { writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { RouteMQError } from '../../support/errors.js'
import {
  devicesCsv,
  devicesWithKey,
  type Plant,
  plantJson,
  plantYaml,
  pointsCsv,
  targetsCsv,
} from '../plant-file/write-plant.js'
import { plantRecords } from '../plant-records.js'
import type { Registry } from '../program.js'

interface ExportFlags {
  readonly points?: true
  readonly targets?: true
}

/** `routemq device:export FILE`: devices and polling targets as `device:import` takes them. */
export function registerDeviceExport({ program, action }: Registry): void {
  program
    .command('device:export')
    .description('write all devices with points and polling targets to YAML, or one kind of them to CSV')
    .argument('<file>', '.yaml, .yml, .json or .csv')
    .option('--points', 'to CSV: the points instead of the devices')
    .option('--targets', 'to CSV: the polling targets instead of the devices')
    .action((name: string, flags: ExportFlags) =>
      action(async (context, json) => {
        const path = resolve(context.root, name)
        if (flags.points && flags.targets) throw new RouteMQError('USAGE', 'Want one of --points and --targets.')
        const plant = await plantRecords(context)
        write(path, textOf(plant, path, flags))
        const withKey = isOfDevices(path, flags) ? devicesWithKey(plant.devices) : []
        const facts = {
          devices: plant.devices.length,
          targets: plant.targets.length,
          file: path,
          not_included: { private_keys: withKey },
        }
        if (withKey.length > 0) {
          context.err(
            `Not in it are the private keys of ${withKey.join(', ')}: an import keeps those that are stored; elsewhere, set options.tls.key.`,
          )
        }
        context.out(
          json
            ? JSON.stringify(facts)
            : `${facts.devices} devices, ${facts.targets} polling targets: ${saidOf(path, flags)}`,
        )
        return 0
      }),
    )
}

function write(path: string, text: string): void {
  try {
    writeFileSync(path, text)
  } catch (cause) {
    throw new RouteMQError('USAGE', `${path} cannot be written: ${(cause as Error).message}`, { cause })
  }
}

function textOf(plant: Plant, path: string, { points, targets }: ExportFlags): string {
  if (/\.csv$/i.test(path)) {
    if (points) return pointsCsv(plant.devices)
    return targets ? targetsCsv(plant.targets) : devicesCsv(plant.devices)
  }
  if (/\.ya?ml$/i.test(path)) return plantYaml(plant)
  if (/\.json$/i.test(path)) return plantJson(plant)
  throw new RouteMQError('USAGE', `${path}: want a file that ends in .yaml, .yml, .json or .csv`)
}

function isOfDevices(path: string, { points, targets }: ExportFlags): boolean {
  return !/\.csv$/i.test(path) || (points === undefined && targets === undefined)
}

function saidOf(path: string, { points, targets }: ExportFlags): string {
  if (!/\.csv$/i.test(path)) return `all in ${path}`
  return `${points ? 'the points' : targets ? 'the polling targets' : 'the devices'} in ${path}`
}
