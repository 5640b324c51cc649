import findMyWay from 'find-my-way'
import { Memoirist } from 'memoirist'
import { Qlobber } from 'qlobber'
import { Router } from '../../core/router/router.js'
import { type Benchmark, type Outcome, timeCalls } from '../harness.js'

/** Topics matched in one run; they are spread over all routes. */
const TOPICS = 1_000

/** The levels of a route; those that begin with `:` are parameters. */
type Shape = (index: number) => readonly string[]

const SHAPES: Readonly<Record<string, Shape>> = {
  /** As plants name things: the routes fan out over the first levels. */
  tree: (index) => [`site${index % 50}`, `area${Math.floor(index / 50)}`, ':device', `op${index}`, ':address'],
  /** As an application with one domain: all routes fan out at one level. */
  flat: (index) => ['devices', ':device', `op${index}`, ':address'],
}
const COUNTS = [10, 100, 1_000, 10_000]
const OURS = 'routemq, all matches'
const RIVAL = 'find-my-way, first match'

/** What to call to match all topics once, by name. */
function candidates(shape: Shape, count: number): Record<string, () => number> {
  const router = new Router()
  const httpRouter = findMyWay()
  const memoirist = new Memoirist<number>()
  const qlobber = new Qlobber<number>({ separator: '/', wildcard_one: '+', wildcard_some: '#', cache_adds: false })
  for (let index = 0; index < count; index += 1) {
    const levels = shape(index)
    router.on(levels.map((level) => (isParam(level) ? `{${level.slice(1)}}` : level)).join('/'), () => {})
    httpRouter.on('GET', `/${levels.join('/')}`, () => {})
    memoirist.add('GET', `/${levels.join('/')}`, index)
    qlobber.add(levels.map((level) => (isParam(level) ? '+' : level)).join('/'), index)
  }
  const dispatcher = router.commit()
  const topics = topicsFor(shape, count)
  const paths = topics.map((topic) => `/${topic}`)
  const sum = (texts: readonly string[], match: (text: string) => number) => () => {
    let found = 0
    for (const text of texts) found += match(text)
    if (found !== texts.length) throw new Error(`${found} of ${texts.length} topics were matched`)
    return found
  }
  return {
    [OURS]: sum(topics, (topic) => dispatcher.match(topic).length),
    [RIVAL]: sum(paths, (path) => (httpRouter.find('GET', path)?.params.device === undefined ? 0 : 1)),
    'memoirist, first match': sum(paths, (path) => (memoirist.find('GET', path)?.params.device === undefined ? 0 : 1)),
    'qlobber, all matches, no parameters': sum(topics, (topic) => qlobber.match(topic).length),
  }
}

function topicsFor(shape: Shape, count: number): string[] {
  // A step that shares no factor with the counts visits the routes in no order that a cache could like.
  return Array.from({ length: TOPICS }, (_, at) => {
    const levels = shape((at * 7_919) % count)
    return levels.map((level) => (isParam(level) ? `${level.slice(1)}-${at % 97}` : level)).join('/')
  })
}

function isParam(level: string): boolean {
  return level.startsWith(':')
}

function measure(name: string, shape: Shape, short: boolean, rounds: number): Outcome {
  const all = COUNTS.map((count) => ({ count, runs: candidates(shape, count) }))
  // All take turns, the counts of one candidate side by side: a ratio between two counts is one of the same second.
  const runs = Object.keys(all[0]!.runs).flatMap((candidate) =>
    all.map(({ count, runs }) => [labelOf(name, count, candidate), runs[candidate]!] as const),
  )
  const times = timeCalls(Object.fromEntries(runs), { rounds, ms: short ? 20 : 120, callsPerRun: TOPICS })
  const of = (candidate: string, count: number) => times[labelOf(name, count, candidate)]!
  return {
    figures: Object.entries(times).map(([label, value]) => ({ label, value, unit: 'ns' })),
    ratios: [
      {
        label: `${name}: speed against find-my-way at 1,000 routes`,
        value: of(RIVAL, 1_000) / of(OURS, 1_000),
        target: 1,
        bound: 'at least',
      },
      {
        label: `${name}: cost at 10,000 routes against 10`,
        value: of(OURS, 10_000) / of(OURS, 10),
        target: 1.5,
        bound: 'at most',
      },
    ],
  }
}

function labelOf(shape: string, count: number, candidate: string): string {
  return `${shape}, ${candidate}, ${count.toLocaleString('en')}`
}

const benchmark: Benchmark = {
  title: 'a topic to its routes, with parameters',
  async run({ short, rounds }) {
    const outcomes = Object.entries(SHAPES).map(([name, shape]) => measure(name, shape, short, rounds))
    return { figures: outcomes.flatMap(({ figures }) => figures), ratios: outcomes.flatMap(({ ratios }) => ratios) }
  },
}

export default benchmark
