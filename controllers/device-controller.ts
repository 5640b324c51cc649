import type { Context, WriteItem, WriteResult } from 'routemq'
import type { z } from 'zod'
import type { ControlCommand, ReadCommand, WriteCommand } from '../app/commands.js'

interface DeviceParams {
  readonly device_id: string
}

/** Commands on `devices/{device_id}/…`: each becomes one request to the owner of the device's bus. */
export class DeviceController {
  async read(ctx: Context<DeviceParams, z.infer<typeof ReadCommand>>) {
    const { device_id } = ctx.params
    const command = ctx.payload
    if ('address' in command) {
      const { address, count, register_type, source } = command
      return ctx.devices.request({ op: 'read', device_id, address, count, register_type, source }, ctx.signal)
    }
    const points = 'point' in command ? [command.point] : command.points
    return ctx.devices.request({ op: 'read_points', device_id, points, source: command.source }, ctx.signal)
  }

  async write(ctx: Context<DeviceParams, z.infer<typeof WriteCommand>>) {
    const { results } = await this.#drive(ctx, toItems(ctx.payload))
    const { request_id: _, timestamp: __, expires_at: ___, ...asked } = ctx.payload
    return { device_id: ctx.params.device_id, status: 'ok', ...asked, ...rounded(results) }
  }

  async control(ctx: Context<DeviceParams, z.infer<typeof ControlCommand>>) {
    const command = ctx.payload
    const item: WriteItem =
      command.command === 'set'
        ? { point: command.point, value: command.value }
        : { point: 'running', value: command.command === 'start' }
    await this.#drive(ctx, [item])
    return { device_id: ctx.params.device_id, status: 'ok', command: command.command }
  }

  #drive(ctx: Context<DeviceParams>, items: readonly WriteItem[]) {
    return ctx.devices.request({ op: 'write', device_id: ctx.params.device_id, items }, ctx.signal)
  }
}

/** Where a register holds another value than was asked for, the answer says which. */
function rounded(results: readonly WriteResult[]) {
  const written = results.flatMap((result) =>
    result.written === undefined || !('point' in result.item) ? [] : [[result.item.point, result.written] as const],
  )
  return written.length === 0 ? {} : { written: Object.fromEntries(written) }
}

function toItems(command: z.infer<typeof WriteCommand>): WriteItem[] {
  if ('points' in command) return Object.entries(command.points).map(([point, value]) => ({ point, value }))
  if ('point' in command) return [{ point: command.point, value: command.value }]
  const { address, register_type } = command
  return [{ register_type, address, values: 'values' in command ? command.values : [command.value] }]
}
