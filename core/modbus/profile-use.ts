import { z } from 'zod'

/** How a device names its profile: by name alone, or with an offset for all addresses and values of its variables. */
export const profileUseSchema = z.union([
  z.string().min(1).max(100),
  z.strictObject({
    name: z.string().min(1).max(100),
    address_offset: z.number().int().min(0).max(65_535).optional(),
    variables: z.record(z.string(), z.union([z.number(), z.string(), z.boolean()])).optional(),
  }),
])
export type ProfileUse = z.infer<typeof profileUseSchema>
