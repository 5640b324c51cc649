import { fileURLToPath } from 'node:url'
import type { SidecarApp } from '../http/app.js'
import type { SidecarServices } from '../http/services.js'
import type { DeviceInput, TargetInput } from '../modbus/device-record.js'

export interface AppOptions {
  /** Folder of the application, a path or a file URL. */
  readonly root: string | URL
  /** Folders below the root. @default routers, middleware, migrations */
  readonly folders?: { readonly routers?: string; readonly middleware?: string; readonly migrations?: string }
  /** Module below the root whose default export is made by `defineDevices`. @default app/devices */
  readonly devices?: string
  /** Adds the application's own routes to the sidecar; they share its authentication and its OpenAPI document. @default none */
  readonly http?: HttpExtension
}

/**
 * Receives the sidecar's Fastify instance, on which a schema is a zod schema, and the product's services. Only types come from there,
 * so that workers load no HTTP server.
 */
export type HttpExtension = (fastify: SidecarApp, services: SidecarServices) => void | Promise<void>

/** An application after its defaults are resolved. */
export interface App {
  readonly root: string
  readonly folders: { readonly routers: string; readonly middleware: string; readonly migrations: string }
  readonly devices: string
  readonly http: HttpExtension | undefined
}

/** What `bootstrap/app.ts` exports: where the application is and what it changes. Starts nothing. */
export function createApp(options: AppOptions): App {
  return Object.freeze({
    root: options.root instanceof URL ? stripSlash(fileURLToPath(options.root)) : options.root,
    folders: Object.freeze({
      routers: 'routers',
      middleware: 'middleware',
      migrations: 'migrations',
      ...options.folders,
    }),
    devices: options.devices ?? 'app/devices',
    http: options.http,
  })
}

/** The devices and polling targets that an application ships. */
export interface PlantDefinition {
  readonly devices: readonly DeviceInput[]
  /** @default nothing is polled */
  readonly targets?: readonly TargetInput[]
}

/** Types the default export of `app/devices.ts`. */
export function defineDevices(plant: PlantDefinition): PlantDefinition {
  return plant
}

function stripSlash(path: string): string {
  return path.length > 1 && path.endsWith('/') ? path.slice(0, -1) : path
}
