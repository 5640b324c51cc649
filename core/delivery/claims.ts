import { createHash } from 'node:crypto'
import { encodePayload } from '../mqtt/codec.js'
import type { InboundMessage } from '../mqtt/message.js'
import type { Logger } from '../observability/logger.js'
import type { Route } from '../router/route.js'
import { Backoff } from '../support/backoff.js'
import { type Clock, sleep } from '../support/clock.js'
import type { ClaimOutcome, DeliveryStore } from './delivery-store.js'

/**
 * What makes two messages copies of one command: the route, the topic, and the `request_id` or the response topic with
 * its correlation data. Undefined where a message carries neither: then it is delivered at least once.
 */
export function claimKeyOf(
  route: Route,
  message: InboundMessage,
  requestId: string | number | undefined,
): string | undefined {
  const { responseTopic, correlationData } = message.properties
  const hash = createHash('sha256').update(`${route.id}\0${message.topic}\0`)
  if (requestId !== undefined) return hash.update(`id\0${requestId}`).digest('base64url')
  if (responseTopic === undefined || correlationData === undefined) return undefined
  return hash.update(`reply\0${responseTopic}\0`).update(correlationData).digest('base64url')
}

export function payloadHashOf(payload: Buffer): string {
  return createHash('sha256').update(payload).digest('base64url')
}

export type Taken =
  | { readonly state: 'claimed' }
  | { readonly state: 'running' }
  /** Runs once more on a person's wish; the outcome that was kept first stands. */
  | { readonly state: 'free' }
  | { readonly state: 'answer'; readonly outcome: ClaimOutcome }

/**
 * Takes the claim, or says what the first copy ended with. Rejects with IDEMPOTENCY_KEY_REUSED. `again` is a person's
 * wish to run a failed command once more; one whose outcome is unknown needs `force` besides.
 */
export async function takeClaim(
  store: DeliveryStore,
  key: string,
  payloadHash: string,
  wish: { readonly again: boolean; readonly force: boolean },
): Promise<Taken> {
  const claim = await store.claim(key, payloadHash)
  switch (claim.state) {
    case 'claimed':
    case 'running':
      return { state: claim.state }
    case 'done': {
      const { outcome } = claim
      const repeatable = wish.again && !outcome.ok && (wish.force || outcome.error.code !== 'WRITE_OUTCOME_UNKNOWN')
      return repeatable ? { state: 'free' } : { state: 'answer', outcome }
    }
    case 'interrupted': {
      const message = 'the process that ran this command ended before its outcome was known'
      const outcome: ClaimOutcome = { ok: false, error: { code: 'WRITE_OUTCOME_UNKNOWN', message } }
      // From here on every copy gets this answer.
      await store.complete(key, outcome)
      return { state: 'answer', outcome }
    }
    default:
      throw claim satisfies never
  }
}

const TRIES = 3

/** Ends a claim; when the store does not take it, later copies are told that the outcome is unknown, and so is the log. */
export async function endClaim(
  end: () => Promise<void>,
  { logger, clock, route }: { readonly logger: Logger; readonly clock: Clock; readonly route: string },
): Promise<void> {
  const backoff = new Backoff()
  for (let tried = 1; ; tried++) {
    try {
      return await end()
    } catch (error) {
      if (tried === TRIES) return logger.error({ route, err: error }, 'the end of a command could not be kept')
      await sleep(backoff.next(), undefined, clock)
    }
  }
}

const BYTES = '$bytes'

/** A handler's answer in a form that survives JSON. */
export function toKept(value: unknown): unknown {
  if (value === undefined) return undefined
  if (value instanceof Uint8Array) return { [BYTES]: Buffer.from(value).toString('base64') }
  return JSON.parse(encodePayload(value, 'json').toString())
}

export function fromKept(kept: unknown): unknown {
  if (typeof kept !== 'object' || kept === null || !Object.hasOwn(kept, BYTES)) return kept
  return Buffer.from(String((kept as Record<string, unknown>)[BYTES]), 'base64')
}
