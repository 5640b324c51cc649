import type { Fault } from '../../../core/modbus/server/faults.js'

/**
 * All the ways in which a virtual device misbehaves, to be taken in turn, so that a short run meets each of them too. What
 * comes late comes `lateMs` after a time-out of `timeoutMs`.
 */
export function allFaults(timeoutMs: number, lateMs: number): readonly Fault[] {
  return [
    { kind: 'silence' },
    { kind: 'deaf' },
    { kind: 'delay', ms: timeoutMs + lateMs },
    { kind: 'delay', ms: timeoutMs / 4 },
    { kind: 'exception', code: 4 },
    { kind: 'wrong_unit' },
    { kind: 'wrong_transaction' },
    { kind: 'wrong_function' },
    { kind: 'duplicate' },
    { kind: 'split', ms: 5 },
    { kind: 'split', ms: timeoutMs + lateMs },
    { kind: 'reset' },
    { kind: 'babble' },
    { kind: 'bad_checksum' },
  ]
}
