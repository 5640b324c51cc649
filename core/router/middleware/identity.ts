import type { Context } from '../context.js'

/** Who sent a message, as the authenticating middleware found out; kept with the message while it is retried. */
export interface Identity {
  readonly name: string
  /** Filters of the topics it may use; undefined: all that the routes offer. */
  readonly topics?: readonly string[]
  /** Which checks it has passed: a credential is gone after the first try, what it proved is not. */
  readonly proofs?: readonly string[]
}

/** What an authenticating middleware left in `ctx.state.auth`; undefined before, or where nobody is asked. */
export function identityOf(ctx: Context): Identity | undefined {
  const { auth } = ctx.state
  return typeof auth === 'object' && auth !== null && 'name' in auth ? (auth as Identity) : undefined
}

/** Whether this very check was passed, by an earlier try of the message. Another check proves nothing for this one. */
export function hasProof(ctx: Context, proof: string): boolean {
  return identityOf(ctx)?.proofs?.includes(proof) === true
}

/** Adds what a check found out. Where several checks are asked for, the last one names the sender. */
export function addProof(ctx: Context, proof: string, identity: Identity): void {
  const before = identityOf(ctx)
  ctx.state.auth = { ...before, ...identity, proofs: [...(before?.proofs ?? []), proof] }
}
