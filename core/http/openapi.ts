import swagger from '@fastify/swagger'
import swaggerUi from '@fastify/swagger-ui'
import { jsonSchemaTransform, jsonSchemaTransformObject } from 'fastify-type-provider-zod'
import type { SidecarApp } from './app.js'

// Not the default of the plugin: that one upgrades to https, which leaves the page bare where there is only http.
const DOCS_POLICY =
  "default-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; object-src 'none'; frame-ancestors 'none'"

/** Collects the schemas of all routes registered after it. */
export async function registerOpenApi(app: SidecarApp, info: { readonly title: string; readonly version: string }) {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: `${info.title}: sidecar`,
        description: 'Health, devices, polling and history of a RouteMQ installation. Problems are RFC 9457 documents.',
        version: info.version,
      },
      components: {
        securitySchemes: {
          bearer: { type: 'http', scheme: 'bearer', description: 'An API key, a JSON Web Token or the run token' },
          apiKey: { type: 'apiKey', in: 'header', name: 'X-API-Key' },
        },
      },
      security: [{ bearer: [] }, { apiKey: [] }],
    },
    transform: jsonSchemaTransform,
    transformObject: (document) => withoutUnused(jsonSchemaTransformObject(document) as OpenApiDocument),
  })
}

/** `/docs` and `/openapi.json`; everything the page needs is served from here. */
export async function serveOpenApi(app: SidecarApp) {
  await app.register(swaggerUi, {
    routePrefix: '/docs',
    staticCSP: DOCS_POLICY,
    uiConfig: { docExpansion: 'list', persistAuthorization: false, validatorUrl: null },
  })
  app.get('/openapi.json', { schema: { hide: true } }, async () => app.swagger())
}

type OpenApiDocument = Extract<ReturnType<typeof jsonSchemaTransformObject>, { openapi?: unknown }>

/** Every named schema is there as input and as output; those that nothing refers to are left out. */
function withoutUnused(document: OpenApiDocument): OpenApiDocument {
  const schemas = document.components?.schemas
  if (schemas === undefined) return document
  const used = new Set<string>()
  const visit = (value: unknown): void => {
    if (typeof value !== 'object' || value === null) return
    for (const [key, child] of Object.entries(value)) {
      const name = key === '$ref' && typeof child === 'string' ? child.replace('#/components/schemas/', '') : undefined
      if (name === undefined) visit(child)
      else if (!used.has(name)) {
        used.add(name)
        visit(schemas[name as keyof typeof schemas])
      }
    }
  }
  visit(document.paths)
  const kept = Object.fromEntries(Object.entries(schemas).filter(([name]) => used.has(name)))
  return { ...document, components: { ...document.components, schemas: kept } } as OpenApiDocument
}
