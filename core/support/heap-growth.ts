import { setFlagsFromString } from 'node:v8'

/** How much the heap may grow beyond what is in use before the garbage in it is collected. */
const GROWTH_PERCENT = 20

/**
 * By itself Node.js sizes the heap by the memory of the machine: a gateway with 90 MB in use kept 200 MB on a machine of
 * 24 GB. Growing in small steps costs no processor time that could be measured (tests/proofs/field-load.test.ts). To be
 * called early in the life of a process; limits that somebody sets with NODE_OPTIONS hold as well.
 */
export function growHeapSlowly(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
}
