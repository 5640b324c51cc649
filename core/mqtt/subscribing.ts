import type { MqttClient } from 'mqtt'
import type { PlannedSubscription } from '../router/route.js'
import { RouteMQError } from '../support/errors.js'
import type { Connection } from './connection.js'
import { overlaps, parseShare } from './topic.js'

/** A filter the broker would not grant, and why. */
export interface Refusal {
  readonly filter: string
  /** SUBACK code, 0x80 and up; undefined when there was no answer. */
  readonly reason: number | undefined
  readonly message: string
}

/** 3.1.1 has no identifier per subscription, so one SUBSCRIBE may carry many filters. */
const BATCH = 100

/** Comparing each filter with each other is left out for more than this; then identifiers are asked for. */
const MAX_COMPARED = 200

/**
 * Whether a topic can match two of the subscriptions, so that copies must be told apart by identifiers (MQTT 5.0, 3.8.2.1.2).
 * Where none can, messages come without them, which are shorter and cheaper to read (benchmarks/receive.ts).
 */
export function needIdentifiers(subscriptions: readonly PlannedSubscription[]): boolean {
  if (subscriptions.length > MAX_COMPARED) return true
  const filters = subscriptions.map(({ filter }) => parseShare(filter)?.filter ?? filter)
  return filters.some((filter, index) => filters.slice(index + 1).some((other) => overlaps(filter, other)))
}

/** Subscribes to all, each with its identifier where `identify` is set. Resolves with what was refused. */
export async function subscribeAll(
  connection: Connection,
  subscriptions: readonly PlannedSubscription[],
  identify: boolean,
): Promise<Refusal[]> {
  const { client, protocol, server } = connection
  const refusals: Refusal[] = []
  if (protocol === 5) {
    // A broker may not offer identifiers (5.0, 3.2.2.3.12); then copies cannot be told apart and nobody claims they can.
    const identifiers = identify && server.subscriptionIdentifiersAvailable !== false
    await Promise.all(
      subscriptions.map(async ({ filter, qos, id }) => {
        const options = {
          qos,
          // Retained messages come when the subscription is made, not each time it is renewed (5.0, 3.8.3.1).
          rh: 1,
          ...(identifiers ? { properties: { subscriptionIdentifier: id } } : {}),
        }
        const { codes, error } = await subscribe(client, { [filter]: options }, options)
        judge([filter], codes, error, refusals)
      }),
    )
    return refusals
  }
  const batches: Promise<void>[] = []
  for (let start = 0; start < subscriptions.length; start += BATCH) {
    const batch = subscriptions.slice(start, start + BATCH)
    const map = Object.fromEntries(batch.map(({ filter, qos }) => [filter, { qos }]))
    batches.push(subscribe(client, map, {}).then(({ codes, error }) => judge(Object.keys(map), codes, error, refusals)))
  }
  await Promise.all(batches)
  return refusals
}

type SubscribeMap = Record<string, { qos: 0 | 1; rh?: number }>

function subscribe(
  client: MqttClient,
  map: SubscribeMap,
  options: { properties?: { subscriptionIdentifier: number } },
): Promise<{ codes: readonly number[]; error: Error | undefined }> {
  return new Promise((resolve) => {
    client.subscribe(
      map as Parameters<MqttClient['subscribe']>[0],
      options as { qos: 0 },
      (error, _granted, packet) => {
        const answer = packet ?? (error as { packet?: { granted?: unknown } } | null)?.packet
        resolve({ codes: (answer?.granted ?? []) as number[], error: error ?? undefined })
      },
    )
  })
}

function judge(filters: readonly string[], codes: readonly number[], error: Error | undefined, into: Refusal[]): void {
  for (const [index, filter] of filters.entries()) {
    const code = codes[index]
    if (code !== undefined && code < 0x80) continue
    if (code === undefined && error === undefined) continue
    into.push({ filter, reason: code, message: error?.message ?? 'the broker refused the filter' })
  }
}

export function refusedError(name: string, refusals: readonly Refusal[]): RouteMQError {
  const filters = refusals.map(({ filter }) => `"${filter}"`).join(', ')
  return new RouteMQError(
    'SUBSCRIPTION_REFUSED',
    `the broker refused ${filters} for lane "${name}": ${refusals[0]?.message}`,
    {
      details: { lane: name, refusals },
    },
  )
}
