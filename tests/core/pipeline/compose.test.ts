import assert from 'node:assert/strict'
import { test } from 'node:test'
import { compose, type Layer } from '../../../core/pipeline/compose.js'

interface Trace {
  readonly steps: string[]
}

const around =
  (name: string): Layer<Trace> =>
  async (trace, next) => {
    trace.steps.push(`${name} in`)
    const outcome = await next()
    trace.steps.push(`${name} out`)
    return outcome
  }

test('layers run outermost first and hand the outcome back through each', async () => {
  const trace: Trace = { steps: [] }
  const chain = compose([around('a'), around('b')], (context: Trace) => {
    context.steps.push('handler')
    return 42
  })
  assert.equal(await chain(trace), 42)
  assert.deepEqual(trace.steps, ['a in', 'b in', 'handler', 'b out', 'a out'])
})

test('without layers the handler is called directly, and what it throws rejects', async () => {
  assert.equal(await compose<object>([], () => 1)({}), 1)
  assert.equal(await compose<object>([], async () => 2)({}), 2)
  const fails = compose<object>([], () => {
    throw new Error('no')
  })
  await assert.rejects(fails({}), /no/)
})

test('a layer that does not call next() ends the chain with its own outcome', async () => {
  let ran = false
  const chain = compose<object>([() => 'early', () => 'never'], () => {
    ran = true
  })
  assert.equal(await chain({}), 'early')
  assert.equal(ran, false)
})

test('a layer may replace the outcome, and catch what is thrown below it', async () => {
  const replace = compose<object>([async (_, next) => Number(await next()) + 1], () => 1)
  assert.equal(await replace({}), 2)
  const rescue = compose<object>(
    [async (_, next) => next().catch((error: Error) => `rescued ${error.message}`)],
    () => {
      throw new Error('below')
    },
  )
  assert.equal(await rescue({}), 'rescued below')
})

test('next() twice is NEXT_CALLED_TWICE naming the layer, and the handler runs once', async () => {
  let runs = 0
  const chain = compose<object>(
    [
      async function greedy(_, next) {
        await next()
        await next()
      },
    ],
    () => {
      runs += 1
    },
  )
  await assert.rejects(chain({}), { code: 'NEXT_CALLED_TWICE', message: /greedy/ })
  assert.equal(runs, 1)
})

test('a second next() that nobody awaits still fails the run and is no unhandled rejection', async () => {
  const unhandled: unknown[] = []
  const listen = (reason: unknown) => unhandled.push(reason)
  process.on('unhandledRejection', listen)
  const chain = compose<object>(
    [
      (_, next) => {
        void next()
        void next()
        return 'fine'
      },
    ],
    () => 1,
  )
  await assert.rejects(chain({}), { code: 'NEXT_CALLED_TWICE' })
  await new Promise((resolve) => setImmediate(resolve))
  process.off('unhandledRejection', listen)
  assert.deepEqual(unhandled, [])
})

test('the same chain runs many times at once without mixing its runs', async () => {
  const chain = compose<{ readonly id: number }>(
    [async (_, next) => next(), async (_, next) => next()],
    async ({ id }) => {
      await new Promise((resolve) => setImmediate(resolve))
      return id
    },
  )
  const outcomes = await Promise.all(Array.from({ length: 100 }, (_, id) => chain({ id })))
  assert.deepEqual(
    outcomes,
    Array.from({ length: 100 }, (_, id) => id),
  )
})

test('error handlers are asked from the innermost out, until one returns', async () => {
  const asked: string[] = []
  const chain = compose<object>([], () => Promise.reject(new Error('first')), {
    onError: [
      (error) => {
        asked.push(`outer ${(error as Error).message}`)
        return 'answered'
      },
      (error) => {
        asked.push(`inner ${(error as Error).message}`)
        throw new Error('second')
      },
    ],
  })
  assert.equal(await chain({}), 'answered')
  assert.deepEqual(asked, ['inner first', 'outer second'])
})

test('error handlers see what layers throw, too, and are silent when nothing is thrown', async () => {
  const seen: unknown[] = []
  const options = { onError: [(error: unknown) => seen.push(error)] }
  const boom = new Error('layer')
  const failing: Layer<object> = () => {
    throw boom
  }
  await compose<object>([failing], () => 1, options)({})
  assert.deepEqual(seen, [boom])
  assert.equal(await compose<object>([], () => 7, options)({}), 7)
  assert.equal(seen.length, 1)
})
