/** What a link tells its connection. `closed` comes once, and only after `open()` resolved. */
export interface LinkEvents {
  data(bytes: Buffer): void
  closed(cause: Error): void
}

/** The bytes of one connection: a socket or a serial port, without any idea of Modbus. Used once, then thrown away. */
export interface Link {
  /** Resolves when bytes can flow. Rejects, with everything released, when that fails or takes longer than `timeoutMs`. */
  open(events: LinkEvents, timeoutMs: number, signal?: AbortSignal): Promise<void>
  /**
   * Hands bytes over. False: the link took nothing and nothing of it can reach the wire.
   * `written` runs once they left the process.
   */
  write(bytes: Buffer, written?: () => void): boolean
  /** Ends the connection in order (FIN), by force after 500 ms. Never rejects. No event comes after the call. */
  close(): Promise<void>
}
