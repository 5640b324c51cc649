import type { Config } from '../config/config.js'
import { nearest } from '../config/nearest.js'
import type { AppDatabase } from '../database/app-tables.js'
import type { Context, Handler } from './context.js'

/** What a controller may name in `static inject`; a middleware's `withServices` gets all of it. */
export interface Services {
  /** The resolved configuration, frozen. */
  readonly config: Config
  readonly devices: Context['devices']
  readonly log: Context['log']
  readonly db: AppDatabase
  readonly publish: Context['publish']
  readonly call: Context['call']
}

/** The constructor's argument: `constructor(services: Inject<typeof MyController.inject>)`. */
export type Inject<Names extends readonly (keyof Services)[]> = Pick<Services, Names[number]>

type AnyController = (new (services: object) => object) & { readonly inject?: readonly string[] }

/** Makes one instance a class, the first time a route names it. */
export class Controllers {
  readonly #services: object | undefined
  readonly #instances = new Map<AnyController, object | string>()

  /** Without services (route listings, tests) a class that names some is not made; running its routes fails. */
  constructor(services: object | undefined) {
    this.#services = services
  }

  /** The bound method, or a sentence that says what is wrong. */
  handler(controller: AnyController, method: string): Handler | string {
    if (typeof controller !== 'function') return 'the first part of the handler is not a controller class'
    const instance = this.#instance(controller)
    if (typeof instance === 'string') return instance
    const found = (instance as Record<string, unknown>)[method]
    if (typeof found === 'function') return (ctx) => found.call(instance, ctx)
    const meant = nearest(method, Object.getOwnPropertyNames(controller.prototype))
    return `${controller.name} has no method "${method}"${meant === undefined ? '' : `; did you mean "${meant}"?`}`
  }

  #instance(controller: AnyController): object | string {
    const known = this.#instances.get(controller)
    if (known !== undefined) return known
    const made = this.#make(controller)
    this.#instances.set(controller, made)
    return made
  }

  #make(controller: AnyController): object | string {
    const wanted = controller.inject ?? []
    const services: Record<string, unknown> = {}
    for (const name of wanted) {
      if (this.#services === undefined) return Object.create(controller.prototype) as object
      if (!(name in this.#services)) {
        const meant = nearest(name, Object.keys(this.#services))
        return `${controller.name} asks for the service "${name}", which does not exist${meant === undefined ? '' : `; did you mean "${meant}"?`}`
      }
      services[name] = (this.#services as Record<string, unknown>)[name]
    }
    try {
      return new controller(services)
    } catch (error) {
      return `${controller.name} could not be made: ${error instanceof Error ? error.message : String(error)}`
    }
  }
}
