import type { DeathWatch } from '../delivery/death-book.js'
import type { DeliveryStore, ParkedHead } from '../delivery/delivery-store.js'
import type { FieldPort, FieldRequest } from '../modbus/field.js'
import type { Publication, Returned } from '../mqtt/publish-window.js'
import type { PublishStore } from '../mqtt/publishing-link.js'
import { RouteMQError } from '../support/errors.js'
import type { ServiceMethod } from './protocol.js'

/** What the gateway does for one worker, because it owns the buses, the tables and the spools. */
export interface GatewayServices {
  readonly field: FieldPort
  readonly store: DeliveryStore
  readonly outbox: Pick<PublishStore, 'put'>
  /** Only where the gateway outlives the worker. */
  readonly watch?: DeathWatch
  /**
   * Parked messages of these routes that nobody finishes now, and of routes that neither this worker (which `has` these) nor
   * another one has; they are this worker's from here on.
   */
  takeOver(routes: readonly string[], has: readonly string[]): Promise<readonly ParkedHead[]>
}

/** Carries one call to the gateway and back; the signal cancels it there too. */
export type Caller = (method: ServiceMethod, args: readonly unknown[], signal?: AbortSignal) => Promise<unknown>

/** The outbox as a worker's link sees it: the gateway keeps and sends, so there is nothing to hand back here. */
export function remoteOutbox(services: GatewayServices): PublishStore {
  return {
    put: (publication, returned) => services.outbox.put(publication, returned),
    size: 0,
    online: () => {},
    offline: () => {},
  }
}

/** The worker's side: each method becomes one call. */
export function remoteServices(call: Caller, options: { readonly durableStore: boolean }): GatewayServices {
  // The gateway answers with what the method promises; the cast is the boundary between the two processes.
  const invoke = <T>(method: ServiceMethod, args: readonly unknown[], signal?: AbortSignal) =>
    call(method, args, signal) as Promise<T>
  return {
    field: { request: (request, signal) => invoke('field.request', [request], signal) },
    store: {
      durable: options.durableStore,
      deadLetter: (letter, id) => invoke('store.deadLetter', [letter, id]),
      park: (message) => invoke('store.park', [message]),
      unpark: (id) => invoke('store.unpark', [id]),
      fetchParked: (id) => invoke('store.fetchParked', [id]),
      claim: (key, payloadHash) => invoke('store.claim', [key, payloadHash]),
      complete: (key, outcome) => invoke('store.complete', [key, outcome]),
      release: (key) => invoke('store.release', [key]),
    },
    // By name: a publication on its way carries functions, and those cannot cross.
    outbox: {
      put: ({ topic, payload, options }, returned) => invoke('outbox.put', [{ topic, payload, options }, returned]),
    },
    watch: {
      begin: (id, alone) => invoke('watch.begin', [id, alone]),
      end: (id) => invoke('watch.end', [id]),
      bury: (id) => invoke('watch.bury', [id]),
    },
    takeOver: (routes, has) => invoke('takeOver', [routes, has]),
  }
}

/** The gateway's side: runs the method that a worker named. */
export async function dispatchCall(
  services: GatewayServices,
  method: ServiceMethod,
  args: readonly unknown[],
  signal: AbortSignal,
): Promise<unknown> {
  const { field, store, outbox, watch } = services
  const [first, second] = args
  switch (method) {
    case 'field.request':
      return field.request(first as FieldRequest, signal)
    case 'store.deadLetter':
      return store.deadLetter(first as Parameters<DeliveryStore['deadLetter']>[0], second as string | undefined)
    case 'store.park':
      return store.park(first as Parameters<DeliveryStore['park']>[0])
    case 'store.unpark':
      return store.unpark(first as string)
    case 'store.fetchParked':
      return store.fetchParked(first as string)
    case 'store.claim':
      return store.claim(first as string, second as string)
    case 'store.complete':
      return store.complete(first as string, second as Parameters<DeliveryStore['complete']>[1])
    case 'store.release':
      return store.release(first as string)
    case 'watch.begin':
      return watch?.begin(first as string, second as boolean)
    case 'watch.end':
      return watch?.end(first as string)
    case 'watch.bury':
      return watch?.bury(first as string)
    case 'takeOver':
      return services.takeOver(first as readonly string[], second as readonly string[])
    case 'outbox.put':
      return outbox.put(first as Publication, second as Returned | undefined)
    default:
      method satisfies never
      throw new RouteMQError('INTERNAL', `unknown gateway method ${String(method)}`)
  }
}
