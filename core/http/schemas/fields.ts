import { z } from 'zod'
import { REGISTER_TYPES } from '../../modbus/field.js'

export const isoTime = z.iso.datetime({ offset: true }).describe('ISO 8601, UTC')
export const registerType = z.enum(REGISTER_TYPES)
export const pduAddress = z.number().int().min(0).max(65_535).describe('PDU address, 0-based')
export const fieldValue = z.union([z.number(), z.boolean(), z.string(), z.null()])
export const quality = z.enum(['good', 'uncertain', 'bad', 'stale'])
export const blockValues = z.array(z.union([z.number(), z.boolean()]))

export const okMessage = z.object({ status: z.literal('ok'), message: z.string() })
export const noContent = z.null().describe('No content')
export const errorShape = z.looseObject({ code: z.string(), message: z.string() })
