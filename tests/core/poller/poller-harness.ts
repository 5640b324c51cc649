import type { TargetRecord } from '../../../core/modbus/device-record.js'
import type { FieldServiceOptions } from '../../../core/modbus/field-service.js'
import type { VirtualDeviceOptions } from '../../../core/modbus/server/virtual-device.js'
import { normalizeTarget } from '../../../core/modbus/target-schema.js'
import type { PublishOptions, ValueMessage, ValuePublisher } from '../../../core/mqtt/message.js'
import { silentLogger } from '../../../core/observability/logger.js'
import { Poller, type PollerOptions } from '../../../core/poller/poller.js'
import type { Sample } from '../../../core/poller/sample.js'
import { atEnd, type DeviceExtra, openField } from '../modbus/field-harness.js'

export { startDevice } from '../modbus/field-harness.js'
export { until } from '../modbus/until.js'

export interface Published {
  readonly topic: string
  readonly payload: string
  readonly options: PublishOptions
  readonly at: number
}

/** A publisher that keeps what it is given. */
export class Recorder implements ValuePublisher {
  readonly messages: Published[] = []

  async publish(topic: string, payload: Buffer | string, options: PublishOptions = {}): Promise<void> {
    this.messages.push({ topic, payload: payload.toString(), options, at: performance.now() })
  }

  publishValues(values: readonly ValueMessage[]): void {
    for (const { retain, ...value } of values) {
      this.messages.push({ ...value, options: { qos: 0, retain }, at: performance.now() })
    }
  }

  on(topic: string): Published[] {
    return this.messages.filter((message) => message.topic === topic)
  }

  values(topic: string): unknown[] {
    return this.on(topic).map(({ payload }) => (payload === '' ? '' : JSON.parse(payload)))
  }
}

/** A virtual device, a field service and a poller over them. */
export async function openPoller(
  device: VirtualDeviceOptions,
  extras: Readonly<Record<string, DeviceExtra>>,
  targets: readonly Record<string, unknown>[],
  options: Partial<PollerOptions> = {},
  fieldOptions: Partial<FieldServiceOptions> = {},
) {
  const opened = await openField(device, extras, fieldOptions)
  const recorder = new Recorder()
  const samples: Sample[] = []
  const poller = new Poller({
    field: opened.field.polling,
    publisher: recorder,
    sink: {
      async accept(more) {
        samples.push(...more)
      },
    },
    config: { enabled: true, intervalMs: 120, cacheTtlMs: 60_000 },
    topicPrefix: 'modbus/data',
    logger: silentLogger,
    ...options,
  })
  atEnd(() => poller.stop())
  const target = (input: Record<string, unknown>, id: number): TargetRecord => normalizeTarget(input, id)
  const records = targets.map((input, i) => target(input, i + 1))
  poller.apply(records, opened.records)
  return {
    ...opened,
    recorder,
    samples,
    poller,
    target,
    targets: records,
    async close() {
      await poller.stop()
      await opened.close()
    },
  }
}
