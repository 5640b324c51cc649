import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { deviceIdSchema } from '../modbus/device-schema.js'
import { readSimulation, type SimulatedDevice } from '../modbus/server/simulation-file.js'
import type { ReceivedWrite } from '../modbus/server/slave.js'
import { startVirtualDevice, type VirtualDevice } from '../modbus/server/virtual-device.js'
import type { PublishOptions } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'
import { RouteMQError } from '../support/errors.js'
import { VirtualRegisters } from './virtual-registers.js'

export interface VirtualPlantOptions {
  /** Its `*.yaml` and `*.json` are devices, named as their files where they do not name themselves. */
  readonly folder: string
  readonly dataDir: string
  readonly topicPrefix: string
  readonly publish: (topic: string, payload: string, options: PublishOptions) => Promise<void>
  readonly logger: Logger
  readonly clock: Clock
}

export interface VirtualPlant {
  readonly devices: ReadonlyMap<string, VirtualDevice>
  close(): Promise<void>
}

const LOST_LOGGED_EVERY_MS = 10_000

/** A device of a file. */
export interface Named extends SimulatedDevice {
  readonly name: string
}

/**
 * The virtual devices of an application: what a master writes to one is published, and is there again after a restart.
 *
 * @throws RouteMQError CONFIG_INVALID for a file with mistakes, PORT_IN_USE for a port that is taken.
 */
export async function startVirtualPlant(options: VirtualPlantOptions): Promise<VirtualPlant> {
  const { folder, dataDir, topicPrefix, publish, logger, clock } = options
  const named = await readVirtualPlant(folder)
  const registers = named.some(({ persist }) => persist !== false)
    ? new VirtualRegisters(join(dataDir, 'virtual.db'))
    : undefined
  const devices = new Map<string, VirtualDevice>()
  const close = async () => {
    await Promise.all([...devices.values()].map((device) => device.close()))
    await registers?.close()
  }
  let lost = 0
  let quietUntil = Number.NEGATIVE_INFINITY
  // A master may write thousands of times a second.
  const tellLost = (error: unknown, topic: string) => {
    lost += 1
    const now = clock.monotonic()
    if (now < quietUntil) return
    logger.warn({ err: error, topic, lost }, 'what masters wrote could not be published')
    lost = 0
    quietUntil = now + LOST_LOGGED_EVERY_MS
  }
  const tell = (name: string, { at, unit, type, address, values }: ReceivedWrite) => {
    const payload = {
      device_id: name,
      unit,
      register_type: type,
      address,
      values: type === 'coil' ? values.map((value) => value !== 0) : values,
      timestamp: at / 1_000,
    }
    const topic = `${topicPrefix}/${name}/written/${unit}/${type}/${address}`
    publish(topic, JSON.stringify(payload), { qos: 1 }).catch((error: unknown) => tellLost(error, topic))
  }
  try {
    for (const { name, persist, ...device } of named) {
      const store = persist === false ? undefined : registers?.of(name)
      const log = logger.child({ virtual_device: name })
      const started = await startVirtualDevice({ ...device, ...(store && { store }), logger: log, clock }).catch(
        (cause: unknown) => {
          if (!(cause instanceof RouteMQError) || cause.code !== 'PORT_IN_USE') throw cause
          const { port, host } = cause.details ?? {}
          const message = `port ${port} on ${host}, wanted by the virtual device ${name}, is taken`
          throw new RouteMQError('PORT_IN_USE', message, { details: { ...cause.details, virtual_device: name }, cause })
        },
      )
      devices.set(name, started)
      started.onWrite((write) => tell(name, write))
      logger.info({ virtual_device: name, ...started.endpoint }, 'a virtual device listens')
    }
  } catch (error) {
    await close()
    throw error
  }
  return { devices, close }
}

/** What the files of the folder describe. @throws RouteMQError CONFIG_INVALID */
export async function readVirtualPlant(folder: string): Promise<readonly Named[]> {
  if (!existsSync(folder)) return []
  const { parse } = await import('yaml')
  const found = new Map<string, Named>()
  for (const file of readdirSync(folder).sort()) {
    if (!/\.(ya?ml|json)$/.test(file)) continue
    const path = join(folder, file)
    const wrong = (cause: Error) =>
      new RouteMQError('CONFIG_INVALID', `The virtual device ${path}: ${cause.message}`, { cause })
    const devices = ((): readonly SimulatedDevice[] => {
      try {
        // JSON is YAML too.
        return readSimulation(parse(readFileSync(path, 'utf8')), folder)
      } catch (cause) {
        throw wrong(cause as Error)
      }
    })()
    for (const [index, device] of devices.entries()) {
      const own = file.slice(0, -extname(file).length)
      const name = device.name ?? (devices.length === 1 ? own : `${own}-${index + 1}`)
      if (!deviceIdSchema.safeParse(name).success) throw wrong(new Error(`"${name}" is no topic level; set \`name\``))
      if (found.has(name)) throw wrong(new Error(`there are two devices named ${name}`))
      found.set(name, { ...device, name })
    }
  }
  return [...found.values()]
}
