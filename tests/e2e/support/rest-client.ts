import assert from 'node:assert/strict'

export interface Answer {
  readonly status: number
  readonly headers: Headers
  readonly text: string
  // biome-ignore lint/suspicious/noExplicitAny: the tests say what must be in it
  readonly body: any
}

/** A stranger's script: plain fetch, JSON in and out, no token of ours. */
export class RestClient {
  readonly #url: string
  readonly #headers: Readonly<Record<string, string>>

  constructor(url: string, headers: Readonly<Record<string, string>> = {}) {
    this.#url = url
    this.#headers = headers
  }

  get(path: string): Promise<Answer> {
    return this.send('GET', path)
  }

  /** A text goes as it is; anything else as JSON. */
  async send(method: string, path: string, body?: unknown): Promise<Answer> {
    const response = await fetch(this.#url + path, {
      method,
      headers: { ...this.#headers, ...(body === undefined ? {} : { 'content-type': 'application/json' }) },
      ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
    })
    const text = await response.text()
    const isJson = /json/.test(response.headers.get('content-type') ?? '')
    return { status: response.status, headers: response.headers, text, body: isJson ? JSON.parse(text) : undefined }
  }
}

/** The call succeeded with this status; gives its body. */
export async function ok(answer: Promise<Answer>, status = 200): Promise<Answer['body']> {
  const got = await answer
  assert.equal(got.status, status, got.text)
  if (status === 204) assert.equal(got.text, '')
  return got.body
}

/** The call was refused with this status and code, as a problem document. */
export async function refused(answer: Promise<Answer>, status: number, code: string): Promise<Answer> {
  const got = await answer
  assert.deepEqual([got.status, got.body?.code], [status, code], got.text)
  assert.equal(got.headers.get('content-type'), 'application/problem+json')
  assert.equal(got.body.status, status)
  assert.match(got.body.detail, /^\S.*[.!?]$/s, 'a sentence')
  return got
}
