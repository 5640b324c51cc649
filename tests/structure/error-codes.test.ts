import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { test } from 'node:test'
import { ERROR_CODES } from '../../core/support/error-codes.js'

const PAGE = readFileSync(new URL('../../docs/reference/errors.md', import.meta.url), 'utf8')
const ROWS = new Map(
  [...PAGE.matchAll(/^\| `([A-Z_]+)` \| (\d+) \| (yes|no) \| (.*) \|$/gm)].map(([, code, status, retry, advice]) => [
    code,
    { status: Number(status), retry: retry === 'yes', advice },
  ]),
)

test('every error code is documented with its status, whether it is retried, and its advice', () => {
  assert.deepEqual(Object.fromEntries(ROWS), ERROR_CODES)
})

test('every advice is one sentence', () => {
  const wrong = Object.entries(ERROR_CODES).filter(([, { advice }]) => !/^[A-Z].*\.$/.test(advice))
  assert.deepEqual(wrong, [])
})
