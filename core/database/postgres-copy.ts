import type { Connection, Submittable } from 'pg'

/** What of pg's connection a copy needs; its types leave it out. */
interface CopyConnection extends Connection {
  sendCopyFromChunk(chunk: Buffer): void
  endCopyFrom(): void
}

/**
 * `copy … from stdin` with rows in PostgreSQL's text format, as the only parameter of a statement. Sent whole: a batch is
 * some hundred kilobytes.
 */
export class CopyRows {
  readonly text: string

  constructor(text: string) {
    this.text = text
  }
}

/** Runs a copy on a client of pg. Rejects like any statement, also with pg's limit for an answer. */
export function copyInto(
  client: { query(query: Submittable): unknown },
  statement: string,
  { text }: CopyRows,
): Promise<void> {
  return new Promise((resolve, reject) => {
    client.query({
      // pg wraps this where it has a limit for answers.
      callback: (error: Error | undefined) => (error === undefined ? resolve() : reject(error)),
      submit(connection) {
        connection.query(statement)
      },
      handleCopyInResponse(connection: CopyConnection) {
        connection.sendCopyFromChunk(Buffer.from(text))
        connection.endCopyFrom()
      },
      handleError(error: Error) {
        this.callback(error)
      },
      handleReadyForQuery() {
        this.callback(undefined)
      },
      handleCommandComplete() {},
    } as CopyQuery)
  })
}

interface CopyQuery extends Submittable {
  callback(error: Error | undefined): void
  handleCopyInResponse(connection: CopyConnection): void
  handleError(error: Error): void
  handleReadyForQuery(): void
  handleCommandComplete(): void
}

const ESCAPES: Readonly<Record<string, string>> = { '\\': '\\\\', '\t': '\\t', '\n': '\\n', '\r': '\\r' }

/** A value as the text format of `copy` writes it. */
export function copyText(value: string | null): string {
  return value === null ? '\\N' : value.replace(/[\\\t\n\r]/g, (found) => ESCAPES[found]!)
}
