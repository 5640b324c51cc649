import type { FastifySchemaCompiler } from 'fastify'
import { validatorCompiler } from 'fastify-type-provider-zod'
import { REGISTER_TYPES, type RegisterType } from '../modbus/field.js'

/** A device id that no rule could refuse, as most are. The words of paths are left to the schema. */
const PLAIN_ID = /^(?!active$|gateways$|reload$)[A-Za-z0-9_-]{1,50}$/
const PLAIN_NUMBER = /^\d{1,5}$/

interface PlainRead {
  readonly address: number
  readonly count: number
  readonly register_type: RegisterType
  readonly source: 'live' | 'cache'
  readonly allow_stale: boolean
}

/**
 * The checks of a register read, which is what is asked for most: one in plain words is taken as it is, and everything else
 * goes through the schema, which alone knows how to say no. zod costs such a read as much as all else that is ours
 * (benchmarks/cases/http.ts).
 */
export const plainReadFirst: FastifySchemaCompiler<unknown> = (route) => {
  const whole = validatorCompiler(route as Parameters<typeof validatorCompiler>[0])
  const plain = route.httpPart === 'params' ? plainDevice : plainRead
  return (data: Readonly<Record<string, unknown>>) => {
    const value = plain(data)
    return value === undefined ? whole(data) : { value }
  }
}

export function plainDevice({ device_id }: Readonly<Record<string, unknown>>): { device_id: string } | undefined {
  return typeof device_id === 'string' && PLAIN_ID.test(device_id) ? { device_id } : undefined
}

/** The query of a read; undefined where it is not plain, right or wrong. */
export function plainRead(query: Readonly<Record<string, unknown>>): PlainRead | undefined {
  const { address, count = '1', register_type = 'holding', source = 'live', allow_stale = 'false' } = query
  if (typeof address !== 'string' || !PLAIN_NUMBER.test(address)) return undefined
  if (typeof count !== 'string' || !PLAIN_NUMBER.test(count)) return undefined
  if (!REGISTER_TYPES.includes(register_type as RegisterType)) return undefined
  if (source !== 'cache' && source !== 'live') return undefined
  if (allow_stale !== 'false' && allow_stale !== 'true') return undefined
  const read = {
    address: Number(address),
    count: Number(count),
    register_type: register_type as RegisterType,
    source,
    allow_stale: allow_stale === 'true',
  } as const
  return read.address <= 65_535 && read.count >= 1 && read.count <= 2_000 ? read : undefined
}
