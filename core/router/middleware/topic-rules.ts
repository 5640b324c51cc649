import { RouteMQError } from '../../support/errors.js'
import type { MiddlewareFactory } from '../context.js'
import { overlaps } from '../filter-set.js'
import { type Identity, identityOf } from './identity.js'

/** Filters by the sender's name; `*` is for everyone, `{name}` in a filter stands for the name. */
export type TopicRules = Readonly<Record<string, readonly string[]>>

/**
 * Lets a sender use only the topics its rules name: `{ '*': ['devices/{name}/#'], operator: ['#'] }`. Filters that came
 * with its token count too. Stands after the middleware that finds out who sends. UNAUTHENTICATED where nobody did,
 * FORBIDDEN where no filter matches.
 */
export function topicRules(rules: TopicRules): MiddlewareFactory {
  const factory = () =>
    async function topics(ctx: Parameters<ReturnType<MiddlewareFactory>>[0], next: () => Promise<unknown>) {
      const sender = identityOf(ctx)
      if (sender === undefined) throw new RouteMQError('UNAUTHENTICATED', 'the sender of the message is not known')
      if (!allowed(rules, sender).some((filter) => overlaps(filter, ctx.topic))) {
        throw new RouteMQError('FORBIDDEN', `${sender.name} may not send to ${ctx.topic}`, {
          details: { sender: sender.name, topic: ctx.topic },
        })
      }
      return next()
    }
  return Object.assign(factory, { priority: 90 })
}

function allowed(rules: TopicRules, sender: Identity): string[] {
  const named = Object.hasOwn(rules, sender.name) ? rules[sender.name]! : []
  // A name with a slash or a wildcard would widen the filter it is put into.
  const fits = !/[+#/\0]/.test(sender.name)
  return [...(rules['*'] ?? []), ...named, ...(sender.topics ?? [])]
    .filter((filter) => fits || !filter.includes('{name}'))
    .map((filter) => filter.replaceAll('{name}', sender.name))
}
