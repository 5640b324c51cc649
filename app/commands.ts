import { z } from 'zod'

const address = z.number().int().min(0).max(65535)
const scalar = z.union([z.number(), z.boolean(), z.string()])

/** What every command may carry: the id that comes back in the reply, and the times that let an old command expire. */
const common = {
  request_id: z.string().min(1).max(128).optional(),
  timestamp: z.union([z.number(), z.string()]).optional(),
  expires_at: z.union([z.number(), z.string()]).optional(),
}

export const ReadCommand = z.union([
  z.strictObject({
    ...common,
    address,
    count: z.number().int().min(1).max(2000).default(1),
    register_type: z.enum(['holding', 'input', 'coil', 'discrete']).default('holding'),
    source: z.enum(['live', 'cache']).default('live'),
  }),
  z.strictObject({ ...common, point: z.string().min(1), source: z.enum(['live', 'cache']).default('live') }),
  z.strictObject({
    ...common,
    points: z.array(z.string().min(1)).min(1).max(200),
    source: z.enum(['live', 'cache']).default('live'),
  }),
])

const registerType = z.enum(['holding', 'coil']).default('holding')

export const WriteCommand = z.union([
  z.strictObject({ ...common, address, value: z.union([z.number(), z.boolean()]), register_type: registerType }),
  z.strictObject({
    ...common,
    address,
    values: z
      .array(z.union([z.number(), z.boolean()]))
      .min(1)
      .max(1968),
    register_type: registerType,
  }),
  z.strictObject({ ...common, point: z.string().min(1), value: scalar }),
  z.strictObject({
    ...common,
    points: z
      .record(z.string().min(1), scalar)
      .refine((points) => Object.keys(points).length > 0, 'must name at least one point'),
  }),
])

export const ControlCommand = z.discriminatedUnion('command', [
  z.strictObject({ ...common, command: z.literal('start') }),
  z.strictObject({ ...common, command: z.literal('stop') }),
  z.strictObject({ ...common, command: z.literal('set'), point: z.string().min(1), value: scalar }),
])
