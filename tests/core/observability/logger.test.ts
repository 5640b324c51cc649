import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { createLogger } from '../../../core/observability/create-logger.js'
import { RouteMQError } from '../../../core/support/errors.js'

function logInto(format: 'json' | 'text' | 'pretty', bindings = {}, includeCaller = false) {
  const lines: string[] = []
  const logger = createLogger({ level: 'debug', format, includeCaller }, bindings, {
    write: (line) => void lines.push(line),
  })
  return { logger, lines }
}

test('JSON: one object a line with level, time, bindings, facts and sentence', () => {
  const { logger, lines } = logInto('json', { worker: 'slot-1' })
  logger.info({ device_id: 'a', big: 2n ** 60n }, 'device online')
  logger.trace({}, 'below the level')
  const record = JSON.parse(lines[0]!)
  assert.equal(lines.length, 1)
  assert.match(record.time, /^\d{4}-\d\d-\d\dT.*Z$/)
  assert.deepEqual(
    { ...record, time: '', pid: 0 },
    {
      level: 'info',
      time: '',
      pid: 0,
      worker: 'slot-1',
      device_id: 'a',
      big: '1152921504606846976',
      msg: 'device online',
    },
  )
})

test('text: one line a record, whatever is in it', () => {
  const { logger, lines } = logInto('text')
  logger.warn({ device_id: 'a b', n: 1, nested: { x: 'y\nz' } }, 'first\nsecond \u001b[31mred')
  assert.equal(lines[0]!.split('\n').length, 2)
  assert.match(lines[0]!, /^\S+Z WARN {2}first\\nsecond \\u001b\[31mred device_id="a b" n=1 nested=\{"x":"y\\nz"\}\n$/)
})

test('no record drives a terminal, whatever somebody sent', () => {
  const hostile = 'a\u001b[2Jb\u009b1m\u007f'
  for (const format of ['text', 'pretty'] as const) {
    const { logger, lines } = logInto(format)
    const err = new TypeError(`${hostile}\nforged`)
    logger.warn({ topic: hostile, words: `x ${hostile}`, nested: { hostile }, err }, `${hostile}\nforged`)
    assert.doesNotMatch(lines.join(''), /[^\P{Cc}\n]/u, format)
    assert.match(lines.join(''), /a(·|\\u001b)\[2Jb/)
    assert.doesNotMatch(lines[0]!.split('\n')[1] ?? '', /^forged/, format)
  }
})

test('text: an error is its code and message; a stack only where nobody foresaw it', () => {
  const { logger, lines } = logInto('text')
  const full = Object.assign(new Error('ENOSPC: no space left on device, mkdir'), { code: 'ENOSPC' })
  logger.warn({ err: full }, 'leases of buses cannot be renewed')
  logger.warn({ error: new RouteMQError('SPOOL_FAILED', 'it cannot be opened', { cause: full }) }, 'no spool')
  logger.error({ err: new TypeError('x is undefined') }, 'a defect')
  const [lease, spool, defect] = lines.map((line) => line.slice(line.indexOf(' ') + 1))
  assert.equal(lease, 'WARN  leases of buses cannot be renewed err="ENOSPC: no space left on device, mkdir"\n')
  assert.equal(
    spool,
    'WARN  no spool error="SPOOL_FAILED: it cannot be opened; ENOSPC: no space left on device, mkdir"\n',
  )
  assert.match(defect!, /^ERROR a defect err="TypeError: x is undefined\\n {4}at [^\n]*"\n$/)
})

test('JSON: an error under `err` is shaped like any other', () => {
  const { logger, lines } = logInto('json')
  logger.warn({ err: new RouteMQError('SPOOL_FAILED', 'full') }, 'x')
  assert.deepEqual(JSON.parse(lines[0]!).err, { type: 'RouteMQError', message: 'full', code: 'SPOOL_FAILED' })
})

test('pretty: no colour away from a terminal', () => {
  const { logger, lines } = logInto('pretty')
  logger.info({ n: 1 }, 'hello')
  assert.match(lines.join(''), /INFO.*hello/)
  assert.ok(!lines.join('').includes('\u001b['))
})

test('children inherit, and their bindings are redacted too', () => {
  const { logger, lines } = logInto('json', { password: 'hunter2' })
  logger.child({ token: 'hunter2', device: 'a' }).child({ api_key: 'hunter2' }).info({}, 'x')
  assert.doesNotMatch(lines[0]!, /hunter2/)
  assert.equal(JSON.parse(lines[0]!).device, 'a')
})

test('errors are whole: code, details, cause; a stack only where the error is not ours', () => {
  const { logger, lines } = logInto('json')
  const cause = new Error('socket hang up')
  logger.error(
    { error: new RouteMQError('DEVICE_TIMEOUT', 'no answer', { details: { device_id: 'a' }, cause }) },
    'read failed',
  )
  const { error } = JSON.parse(lines[0]!)
  assert.deepEqual(
    [error.code, error.message, error.details, error.stack],
    ['DEVICE_TIMEOUT', 'no answer', { device_id: 'a' }, undefined],
  )
  assert.match(error.cause.stack, /socket hang up\n {4}at /)
})

test('the caller is named where that is asked for', () => {
  const { logger, lines } = logInto('json', {}, true)
  logger.info({}, 'x')
  assert.match(JSON.parse(lines[0]!).caller, /logger\.test\.ts:\d+$/)
})

test('a process that exits at once, or dies of a fatal record, has written every line in order', async () => {
  const program = `
    import { createLogger } from ${JSON.stringify(new URL('../../../core/observability/create-logger.ts', import.meta.url).href)}
    const logger = createLogger({ level: 'info', format: process.argv[1] }, { worker: 'w' })
    for (let i = 0; i < 3000; i++) logger.info({ i }, 'line')
    logger.fatal({ i: 3000 }, 'last')
    process.exit(3)
  `
  for (const format of ['json', 'text']) {
    const root = fileURLToPath(new URL('../../..', import.meta.url))
    const child = spawn(
      process.execPath,
      ['--conditions=routemq:source', '--import', 'tsx', '--input-type=module', '-e', program, format],
      {
        cwd: root,
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    let text = ''
    child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk
    })
    const [code] = await once(child, 'close')
    assert.equal(code, 3)
    const numbers = text
      .trimEnd()
      .split('\n')
      .map((line) => Number(/"?i"?[=:](\d+)/.exec(line)?.[1]))
    assert.deepEqual(
      numbers,
      Array.from({ length: 3_001 }, (_, i) => i),
      format,
    )
  }
})

test('a logger holds nothing open: a process that has nothing else to do ends', async () => {
  const program = `
    import { createLogger } from ${JSON.stringify(new URL('../../../core/observability/create-logger.ts', import.meta.url).href)}
    createLogger({ level: 'info', format: 'json' }).info({}, 'only')
  `
  const child = spawn(
    process.execPath,
    ['--conditions=routemq:source', '--import', 'tsx', '--input-type=module', '-e', program],
    {
      cwd: fileURLToPath(new URL('../../..', import.meta.url)),
      stdio: ['ignore', 'pipe', 'inherit'],
      timeout: 20_000,
    },
  )
  let text = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk
  })
  const [code] = await once(child, 'close')
  assert.deepEqual([code, JSON.parse(text).msg], [0, 'only'])
})
