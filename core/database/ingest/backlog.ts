/** Share of the spool that readings may fill before people are told. */
const NOTICE_FROM = 0.1

export interface Backlog {
  /** Why the last insert failed, until one succeeds. */
  readonly failure: string | undefined
  /** Batches that wait on the disk. */
  readonly batches: number
  readonly bytes: number
  readonly maxBytes: number
}

/** What people should know of readings that wait, while there is time to do something; undefined while all is well. */
export function backlogNotice({ failure, batches, bytes, maxBytes }: Backlog): string | undefined {
  const share = maxBytes === 0 ? 0 : bytes / maxBytes
  if (failure === undefined && share < NOTICE_FROM) return undefined
  const waits = `${batches} batches wait on the disk, ${Math.floor(share * 100)} % of the spool (${bytes} of ${maxBytes} bytes)`
  const why =
    failure === undefined
      ? 'the database takes readings more slowly than they come, or is away'
      : `the database takes no readings (${failure})`
  return `${why}: ${waits}; once that is full the oldest are given up`
}
