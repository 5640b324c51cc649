import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Context, RouteNames } from 'routemq'
import { Router } from 'routemq'
import { z } from 'zod'

declare module 'routemq' {
  interface RouteNames {
    'typed.control': 'devices/{device_id:int}/control'
  }
}

// What is wrong here does not compile: `tsc` is the test, and each `@ts-expect-error` fails when the mistake is accepted.
type Equal<A, B> = (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false
const holds = <_T extends true>(): void => {}

const Command = z.strictObject({ value: z.number(), unit: z.string().default('%') })

class TypedController {
  read(ctx: Context<{ readonly device_id: string }>) {
    return ctx.params.device_id
  }
  write(ctx: Context<{ readonly device_id: string }, z.output<typeof Command>>) {
    return ctx.payload.value
  }
  ping() {
    return 'pong'
  }
  readonly notAMethod = 1
}

test('parameters are typed by the pattern, group prefixes included', () => {
  const router = new Router()
  router.on('a/{id}/b/{count:int}/{on:bool}/{rest*}', (ctx) => {
    holds<
      Equal<
        typeof ctx.params,
        { readonly id: string; readonly count: number; readonly on: boolean; readonly rest: string }
      >
    >()
  })
  router.on('x/+/y/+/#', (ctx) => {
    holds<Equal<typeof ctx.params, { readonly 0: string; readonly 1: string; readonly 2: string }>>()
  })
  router.on('{kind:holding|input}/{key:int|uuid}', (ctx) => {
    holds<Equal<typeof ctx.params, { readonly kind: 'holding' | 'input'; readonly key: string | number }>>()
  })
  router.group({ prefix: 'devices/{device_id}' }, (device) => {
    device.group({ prefix: 'registers' }, (registers) => {
      registers.on('{address:int}', (ctx) => {
        holds<Equal<typeof ctx.params, { readonly device_id: string; readonly address: number }>>()
        // @ts-expect-error there is no such parameter
        return ctx.params.adress
      })
    })
  })
  const pattern: string = 'a/{b}'
  router.on(pattern, (ctx) => {
    holds<Equal<typeof ctx.params, Readonly<Record<string, string | number | boolean>>>>()
  })
  assert.equal(router.commit().routes.length, 5)
})

test('the payload is typed by the schema, else by the codec, else unknown', () => {
  const router = new Router()
  router.on('a', (ctx) => holds<Equal<typeof ctx.payload, { value: number; unit: string }>>(), { payload: Command })
  router.on('b', (ctx) => holds<Equal<typeof ctx.payload, string>>(), { codec: 'text' })
  router.on('c', (ctx) => holds<Equal<typeof ctx.payload, Buffer>>(), { codec: 'raw' })
  router.on('d', (ctx) => holds<Equal<typeof ctx.payload, unknown>>())
  router.group({ middleware: ['x'] }, (group) => {
    group.on('e', (ctx) => holds<Equal<typeof ctx.payload, { value: number; unit: string }>>(), { payload: Command })
  })
  assert.throws(() => router.commit(), { code: 'MIDDLEWARE_UNKNOWN' })
})

test('a controller method must take the parameters and the payload of its route', () => {
  const router = new Router()
  router.on('devices/{device_id}/read', [TypedController, 'read'])
  router.on('devices/{device_id}/write', [TypedController, 'write'], { payload: Command })
  router.on('ping', [TypedController, 'ping'])
  // @ts-expect-error the method wants a device_id
  router.on('devices/{id}/read', [TypedController, 'read'])
  // @ts-expect-error without the schema the payload is unknown
  router.on('devices/{device_id}/write2', [TypedController, 'write'])
  // @ts-expect-error there is no such method
  router.on('devices/{device_id}/wirte', [TypedController, 'wirte'], { payload: Command })
  // @ts-expect-error a property is no method
  router.on('devices/{device_id}/property', [TypedController, 'notAMethod'])
  assert.throws(() => router.commit(), { code: 'ROUTER_INVALID' })
})

test('options are checked: known words, and orderBy names a parameter', () => {
  const router = new Router()
  router.on('devices/{device_id}/a', () => {}, { orderBy: 'device_id', maxAge: '30s', timeout: 500 })
  // @ts-expect-error no such parameter
  router.on('devices/{device_id}/b', () => {}, { orderBy: 'device' })
  // @ts-expect-error QoS is 0, 1 or 2
  router.on('devices/{device_id}/c', () => {}, { qos: 3 })
  // @ts-expect-error no such option
  router.on('devices/{device_id}/d', () => {}, { sharde: true })
  // @ts-expect-error no such unit of time
  router.on('devices/{device_id}/e', () => {}, { maxAge: '30sec' })
  assert.throws(() => router.commit(), { code: 'ROUTER_INVALID' })
})

test('topics are typed by the reference of a route and by declared names', () => {
  const router = new Router()
  const control = router.on('devices/{device_id:int}/control', () => {}, { name: 'typed.control' })
  assert.equal(control.topic({ device_id: 42 }), 'devices/42/control')
  assert.equal(router.topic('typed.control', { device_id: 42 }), 'devices/42/control')
  holds<Equal<RouteNames['typed.control'], 'devices/{device_id:int}/control'>>()
  // @ts-expect-error the parameter is missing
  assert.throws(() => control.topic({}), { code: 'TOPIC_INVALID' })
  // @ts-expect-error the parameter is missing
  assert.throws(() => router.topic('typed.control', {}), { code: 'TOPIC_INVALID' })
  // @ts-expect-error the parameter has another name
  assert.throws(() => router.topic('typed.control', { device: 1 }), { code: 'TOPIC_INVALID' })
  assert.throws(() => router.topic('not.declared', { anything: 1 }), { code: 'ROUTE_UNKNOWN' })
})
