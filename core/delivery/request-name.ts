import type { Unit } from './unit.js'

const LONGEST = 64

/** What logs and the audit call a request by: its `request_id`, else its correlation data. Bounded; it comes from strangers. */
export function nameOfRequest({ requestId, message }: Pick<Unit, 'requestId' | 'message'>): string | undefined {
  if (requestId !== undefined) return String(requestId).slice(0, LONGEST)
  const { correlationData } = message.properties
  if (correlationData === undefined || correlationData.length === 0) return undefined
  const text = correlationData.toString('latin1').slice(0, LONGEST)
  return /^[\x21-\x7e]+$/.test(text) ? text : correlationData.subarray(0, LONGEST / 2).toString('hex')
}
