import assert from 'node:assert/strict'
import { test } from 'node:test'
import { problemSchema, toProblem, toRouteMQError } from '../../../core/http/problem.js'
import { ERROR_CODES, type ErrorCode } from '../../../core/support/error-codes.js'
import { RouteMQError } from '../../../core/support/errors.js'
import { plant } from './fake-services.js'
import { start } from './started.js'

test('every code becomes a whole problem document with the status of the table', () => {
  for (const code of Object.keys(ERROR_CODES) as ErrorCode[]) {
    const problem = toProblem(new RouteMQError(code, 'something was found'), '/api/x', 'id-1')
    assert.equal(problem.status, ERROR_CODES[code].status)
    assert.equal(problem.type, `urn:routemq:error:${code}`)
    assert.equal(problem.detail, 'Something was found.')
    assert.deepEqual(problemSchema.parse(problem), problem)
  }
})

test('a write that the device failed in is answered by the device, one without an answer is a time-out', () => {
  const status = (details?: Record<string, unknown>) =>
    toProblem(new RouteMQError('WRITE_OUTCOME_UNKNOWN', 'x', details && { details }), '/', 'i').status
  assert.deepEqual([status(), status({ device_id: 'a' }), status({ exception: 4 })], [504, 504, 502])
})

test('a detail is a sentence, and a name in it keeps its spelling', () => {
  const detail = (message: string) => toProblem(new RouteMQError('REQUEST_INVALID', message), '/', 'i').detail
  assert.equal(detail('no device is called a'), 'No device is called a.')
  assert.equal(detail('device_id must be given'), 'device_id must be given.')
  assert.equal(detail('Really?'), 'Really?')
  const ofPoint = new RouteMQError('VALUE_OUT_OF_RANGE', 'setpoint takes 5 to 35, got 99', {
    details: { point: 'setpoint', value: 99 },
  })
  assert.equal(toProblem(ofPoint, '/', 'i').detail, 'setpoint takes 5 to 35, got 99.')
})

test('field mistakes become errors, other details stay details', () => {
  const fields = [{ field: 'port', message: 'is needed' }]
  const problem = toProblem(new RouteMQError('DEVICE_INVALID', 'x', { details: { fields, device_id: 'a' } }), '/', 'i')
  assert.deepEqual(problem.errors, fields)
  assert.deepEqual(problem.details, { device_id: 'a' })
})

test('what is not ours is a defect that tells the caller nothing about its cause', async (context) => {
  const leaky = new Error('connect ECONNREFUSED postgres://user:hunter2@10.0.0.3:5432')
  assert.equal(toRouteMQError(leaky).code, 'INTERNAL')
  const sidecar = await start(context, { services: plant({ answer: () => Promise.reject(leaky) }) })
  const { status, body, text } = await sidecar.get('/api/devices/meter-1/registers?address=1')
  assert.deepEqual([status, body.code], [500, 'INTERNAL'])
  assert.doesNotMatch(text, /hunter2|ECONNREFUSED|at .*\.ts|stack/)
})

test('a path that is too long says so', async (context) => {
  const sidecar = await start(context)
  const { body } = await sidecar.get(`/api/devices/${'a'.repeat(5_000)}/registers?address=1`)
  assert.deepEqual(
    [body.status, body.code, body.detail],
    [400, 'REQUEST_MALFORMED', 'A part of the path is longer than any id or name.'],
  )
})

test('Retry-After is what the error knows, rounded up, else one second', async (context) => {
  let details: Record<string, unknown> = {}
  const answer = () => Promise.reject(new RouteMQError('BREAKER_OPEN', 'open', { details }))
  const sidecar = await start(context, { services: plant({ answer }) })
  for (const [given, expected] of [
    [{ retry_after_ms: 29_001 }, '30'],
    [{ retry_after_ms: 1 }, '1'],
    [{}, '1'],
    [{ retry_after_ms: Number.NaN }, '1'],
  ] as const) {
    details = given
    const { headers } = await sidecar.get('/api/devices/meter-1/registers?address=1')
    assert.equal(headers['retry-after'], expected)
  }
})

test('queries never show in a problem document', async (context) => {
  const sidecar = await start(context)
  const { body, text } = await sidecar.get('/api/nothing?api_key=hunter2')
  assert.equal(body.instance, '/api/nothing')
  assert.doesNotMatch(text, /hunter2/)
})
