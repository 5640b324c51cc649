/** What one check found. */
export interface Finding {
  readonly check: string
  /** `warning`: it runs, but not as one may think; `error`: it does not run, or not for long. */
  readonly state: 'ok' | 'warning' | 'error'
  /** What is there, and where it is wrong, what to do. */
  readonly text: string
}

export const ok = (check: string, text: string): Finding => ({ check, state: 'ok', text })
export const warning = (check: string, text: string): Finding => ({ check, state: 'warning', text })
export const error = (check: string, text: string): Finding => ({ check, state: 'error', text })

export function reasonOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
