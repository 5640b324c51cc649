import type { Route } from '../router/route.js'
import type { WorkerReport } from '../workers/supervisor.js'

export interface ReportFacts {
  readonly name: string
  readonly version: string
  readonly mode: 'demo' | 'normal'
  readonly routes: readonly Route[]
  readonly workers: readonly WorkerReport[]
  readonly broker: { readonly url: string; readonly embedded: boolean; readonly protocol: string }
  readonly database: string
  readonly devices: readonly { readonly device_id: string; readonly bus: string }[]
  /** The device that the commands to try are about. */
  readonly example: string | undefined
  readonly targets: number
  /** What the topics of polled values begin with. */
  readonly topicPrefix: string
  readonly virtualDevice: string | undefined
  readonly http: string | undefined
  readonly moved: readonly { readonly what: string; readonly from: number; readonly to: number }[]
  readonly warnings: readonly string[]
  /** How a person calls the command line here: `npx routemq`, or the script of a checkout. */
  readonly command: string
  readonly startMs: number
}

/** What the start says to a person, line by line. */
export function startReport(facts: ReportFacts): string {
  const product = `RouteMQ ${facts.version}`
  const title = facts.name === 'RouteMQ' ? product : `${facts.name} — ${product}`
  const lines = [`${title}, ${facts.mode} mode, ready after ${(facts.startMs / 1000).toFixed(1)} s`, '']
  for (const { what, from, to } of facts.moved) lines.push(`  ! port ${from} is taken: the ${what} listens on ${to}`)
  for (const warning of facts.warnings) lines.push(`  ! ${warning}`)
  lines.push(...routerLines(facts.routes), ...subscriptionLines(facts.workers))
  lines.push(
    `  Broker    ${facts.broker.url} (${facts.broker.embedded ? 'embedded' : 'external'}, MQTT ${facts.broker.protocol})`,
  )
  lines.push(`  Database  ${facts.database}`)
  if (facts.virtualDevice !== undefined) lines.push(`  Plant     a virtual Modbus TCP device on ${facts.virtualDevice}`)
  lines.push(`  Devices   ${facts.devices.map(({ device_id, bus }) => `${device_id} on ${bus}`).join(', ') || 'none'}`)
  lines.push(`  Polling   ${facts.targets} targets`)
  lines.push(`  Sidecar   ${facts.http === undefined ? 'off' : `${facts.http}  (documentation: ${facts.http}/docs)`}`)
  lines.push('', ...tryLines(facts), '')
  return lines.join('\n')
}

function routerLines(routes: readonly Route[]): string[] {
  const files = new Map<string, Route[]>()
  for (const route of routes) files.set(route.file, [...(files.get(route.file) ?? []), route])
  const lines = [`  Routers   ${files.size} found, ${routes.length} routes`]
  // A hundred routes are a report; ten thousand are what `route:list` is for.
  const shown = [...files].slice(0, 20)
  for (const [file, own] of shown) {
    lines.push(`            ${file}`)
    for (const route of own.slice(0, 20))
      lines.push(`              ${route.pattern}  ${traits(route)}  ${route.handlerName}`)
    if (own.length > 20) lines.push(`              and ${own.length - 20} more, see route:list`)
  }
  if (files.size > shown.length) lines.push(`            and ${files.size - shown.length} more files, see route:list`)
  return lines
}

function traits(route: Route): string {
  return `qos ${route.qos}, ${route.shared ? `shared by ${route.workers}` : 'plain'}`
}

function subscriptionLines(workers: readonly WorkerReport[]): string[] {
  const lines = [`  Workers   ${workers.length}`]
  for (const { name, pid, state, subscriptions, reason } of workers) {
    const doing = state === 'ready' ? subscriptions.slice(0, 8).join('  ') : `${state}: ${reason ?? ''}`
    const more = subscriptions.length > 8 ? `  and ${subscriptions.length - 8} more` : ''
    lines.push(`            ${name}  pid ${pid ?? '-'}  ${doing}${more}`)
  }
  return lines
}

function tryLines({ command, example: device, http, topicPrefix }: ReportFacts): string[] {
  if (device === undefined) return [`  Try next`, `    ${command} route:list`]
  return [
    '  Try next, in another terminal:',
    `    ${command} sub '${topicPrefix}/${device}/#' -C 3`,
    `    ${command} pub devices/${device}/write '{"address": 10, "value": 42, "request_id": "a1"}' --wait`,
    http === undefined
      ? `    ${command} device:list`
      : `    curl -s '${http}/api/devices/${device}/registers?address=10'`,
  ]
}
