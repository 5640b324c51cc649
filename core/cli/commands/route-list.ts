import { loadConfig } from '../../config/load-config.js'
import { routeViews } from '../../workers/route-view.js'
import { loadRoutes } from '../load-routes.js'
import type { Registry } from '../program.js'
import { table } from '../table.js'

/** `routemq route:list`: what the router files add up to. */
export function registerRouteList({ program, action }: Registry): void {
  program
    .command('route:list')
    .description('list the routes with their subscriptions, middleware and handlers')
    .action(() =>
      action(async ({ root, env, out }, json) => {
        const { config } = loadConfig({ root, env, keepInstance: false })
        const { routes } = await loadRoutes({ root, env })
        const rows = routeViews(routes, {
          groupName: config.mqtt.groupName,
          slots: config.workers.slots,
          subscriptionIdentifiers: config.mqtt.url !== undefined && config.mqtt.protocol !== 4,
        })
        if (json) out(JSON.stringify(rows, null, 2))
        else if (rows.length === 0) out('There are no routes: make one with `routemq make:router NAME`.')
        else
          out(
            table(
              COLUMNS,
              rows.map((row) => COLUMNS.map((column) => row[column])),
            ),
          )
        return 0
      }),
    )
}

const COLUMNS = ['name', 'topic', 'subscription', 'qos', 'slots', 'lane', 'middleware', 'handler', 'file'] as const
