import type { Route } from '../../router/route.js'
import { validatePayload } from '../../router/validate-payload.js'
import { RouteMQError } from '../../support/errors.js'
import { loadRoutes } from '../load-routes.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

/** `routemq route:match TOPIC`: what a message there would run, and why others would not. */
export function registerRouteMatch({ program, action }: Registry): void {
  program
    .command('route:match')
    .description('tell which routes a message on a topic would run, and why others would not')
    .argument('<topic>', 'a topic, without wildcards')
    .option('--payload <json>', 'also check this payload against the schema of each route that matches')
    .action((topic: string, { payload }: { payload?: string }) =>
      action(async ({ root, env, out }, json) => {
        if (topic === '' || /[+#]/.test(topic)) {
          throw new RouteMQError(
            'USAGE',
            `"${topic}" is no topic: a message has one without + and #, such as devices/42/control`,
          )
        }
        const body = payload === undefined ? undefined : { value: parse(payload) }
        const dispatcher = await loadRoutes({ root, env })
        const matches = dispatcher.match(topic)
        const rows = await Promise.all(
          dispatcher.explain(topic).map(async ({ route, matches: runs, reason }) => {
            const params = matches.find((match) => match.route.id === route.id)?.params ?? null
            const wrong = runs && body !== undefined ? await refusal(route.payload, body.value) : undefined
            return {
              route: route.id,
              topic: route.pattern,
              runs: runs && wrong === undefined,
              reason: wrong ?? reason,
              params,
              handler: route.handlerName,
              file: route.file,
            }
          }),
        )
        if (json) out(JSON.stringify(rows, null, 2))
        else if (rows.length === 0) out(`No route comes near ${topic}.`)
        else {
          const cells = rows.map((row) => [
            row.runs ? 'yes' : 'no',
            row.topic,
            row.reason,
            row.params,
            row.handler,
            row.file,
          ])
          out(table(['runs', 'route', 'why', 'parameters', 'handler', 'file'], cells))
        }
        return rows.some((row) => row.runs) ? 0 : 1
      }),
    )
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (cause) {
    throw new RouteMQError('USAGE', `--payload is no JSON: ${text}`, { cause })
  }
}

/** Why a message with this payload would be refused, in the words that its sender would get. */
async function refusal(schema: Route['payload'], payload: unknown): Promise<string | undefined> {
  if (schema === undefined) return undefined
  try {
    await validatePayload(schema, payload)
    return undefined
  } catch (error) {
    return (error as Error).message
  }
}
