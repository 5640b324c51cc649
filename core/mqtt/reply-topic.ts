import { RouteMQError } from '../support/errors.js'
import { matches, topicProblem } from './topic.js'

/**
 * Whether a message on this topic may be answered or dead-lettered at all. Answers to answers would circle for ever, and
 * everything under `routemq/` is ours.
 */
export function mayAnswer(topic: string): boolean {
  return !topic.endsWith('/response') && topic !== 'response' && !isOwn(topic)
}

/**
 * Judges a response topic. It is a stranger's input that is published under our credentials, so it holds no wildcard,
 * matches none of our routes (or one message would run another) and lies under an allowed prefix.
 *
 * @returns RESPONSE_TOPIC_REFUSED with the reason, or undefined when the topic may be used.
 */
export function checkResponseTopic(
  topic: string,
  prefixes: readonly string[],
  routeFilters: Iterable<string>,
): RouteMQError | undefined {
  const refused = (reason: string) =>
    new RouteMQError('RESPONSE_TOPIC_REFUSED', `the response topic "${topic}" is refused: ${reason}`, {
      details: { topic },
    })
  const problem = topicProblem(topic)
  if (problem !== undefined) return refused(problem)
  if (topic.startsWith('$')) return refused('topics that start with "$" belong to the broker')
  if (!prefixes.some((prefix) => matches(prefix, topic))) {
    return refused(
      `it lies under none of ${prefixes.map((prefix) => `"${prefix}"`).join(', ') || 'the prefixes (none are set)'}`,
    )
  }
  for (const filter of routeFilters) {
    if (matches(filter, topic)) return refused(`it is itself routed, by "${filter}"`)
  }
  return undefined
}

function isOwn(topic: string): boolean {
  return topic === 'routemq' || topic.startsWith('routemq/')
}
