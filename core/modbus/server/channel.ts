/** A way in for masters: a listening port or a serial line. */
export interface Channel {
  readonly host: string
  /** 0 for a serial line. */
  readonly port: number
  /** Idempotent. */
  close(): Promise<void>
}
