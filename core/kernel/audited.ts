import type { AuditInput } from '../database/repositories/log-repositories.js'
import type { SidecarServices } from '../http/services.js'
import type { Actor } from '../modbus/field.js'
import { RouteMQError } from '../support/errors.js'

type Audit = (entry: AuditInput) => Promise<void>
type Facts = Pick<AuditInput, 'subject' | 'after' | 'details'>

/**
 * Services whose every change is audited before it is answered: also one that failed, with its code. Changes of single
 * devices and targets are audited where they are made, with what they were before.
 */
export function audited(services: SidecarServices, audit: Audit): SidecarServices {
  const { devices, cache, metrics, workers, dead, keys } = services
  const kept = async <T>(action: string, actor: Actor, facts: Facts, work: () => T | Promise<T>): Promise<T> => {
    let done: T
    try {
      done = await work()
    } catch (error) {
      const code = error instanceof RouteMQError ? error.code : 'INTERNAL'
      await audit({ actor, action, outcome: 'rejected', code, ...facts })
      throw error
    }
    await audit({ actor, action, outcome: 'ok', ...facts })
    return done
  }
  // Not spread: services may be getters.
  return Object.create(services, {
    devices: value({
      ...devices,
      reload: (actor: Actor) => kept('device.reload', actor, { subject: 'all' }, () => devices.reload(actor)),
    }),
    cache: value({ ...cache, clear: (actor: Actor) => kept('cache.clear', actor, {}, () => cache.clear(actor)) }),
    metrics: value({
      ...metrics,
      reset: (actor: Actor) => kept('metrics.reset', actor, {}, () => metrics.reset(actor)),
    }),
    ...(workers === undefined
      ? {}
      : {
          workers: value({
            ...workers,
            restart: (name, actor) =>
              kept('worker.restart', actor, { subject: name ?? 'all' }, () => workers.restart(name, actor)),
            scale: (slots, actor) =>
              kept('worker.scale', actor, { after: { slots } }, () => workers.scale(slots, actor)),
          } satisfies typeof workers),
        }),
    ...(dead === undefined
      ? {}
      : {
          dead: value({
            ...dead,
            retry: (id, how, actor) =>
              kept('dead.retry', actor, { subject: id, details: { ...how } }, () => dead.retry(id, how, actor)),
            forget: (id, actor) => kept('dead.forget', actor, { subject: id }, () => dead.forget(id, actor)),
          } satisfies typeof dead),
        }),
    ...(keys === undefined
      ? {}
      : {
          keys: value({
            any: () => keys.any(),
            find: (prefix) => keys.find(prefix),
            list: () => keys.list(),
            add: (record, actor) => {
              const { prefix: subject, name, scope, expires_at } = record
              return kept('key.create', actor, { subject, after: { name, scope, expires_at } }, () =>
                keys.add(record, actor),
              )
            },
            revoke: (prefix, actor) => kept('key.revoke', actor, { subject: prefix }, () => keys.revoke(prefix, actor)),
          } satisfies typeof keys),
        }),
  })
}

function value<T>(given: T): PropertyDescriptor {
  return { value: given, enumerable: true }
}
