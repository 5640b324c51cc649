import type { Logger } from '../observability/logger.js'
import type { Clock } from '../support/clock.js'

export interface OutageTeller {
  readonly url: string
  readonly clientId: string
  readonly logger: Logger
  readonly clock: Clock
}

interface Outage {
  /** Monotonic time. */
  readonly since: number
  readonly clientIds: Set<string>
}

/**
 * The brokers that links of this process have lost, by address. A process has several links to one broker: its outage is
 * told once, and its end once, when the last of them is back.
 */
const outages = new Map<string, Outage>()

export function brokerLost({ url, clientId, logger, clock }: OutageTeller, error: string, sentence: string): void {
  const known = outages.get(url)
  const outage = known ?? { since: clock.monotonic(), clientIds: new Set() }
  outages.set(url, outage)
  outage.clientIds.add(clientId)
  if (known === undefined) logger.warn({ clientId, error }, sentence)
  else logger.debug({ clientId, error }, sentence)
}

export function brokerBack({ url, clientId, logger, clock }: OutageTeller): void {
  const outage = outages.get(url)
  if (outage === undefined || !over(url, outage, clientId)) return
  const seconds = Number(((clock.monotonic() - outage.since) / 1_000).toFixed(1))
  logger.info({ seconds }, 'the broker is back')
}

/** The link does not try any more; the outage ends for the others without it. */
export function noMoreTries({ url, clientId }: OutageTeller): void {
  const outage = outages.get(url)
  if (outage !== undefined) over(url, outage, clientId)
}

/** True where this was the last that waited. */
function over(url: string, outage: Outage, clientId: string): boolean {
  if (!outage.clientIds.delete(clientId) || outage.clientIds.size > 0) return false
  return outages.delete(url)
}
