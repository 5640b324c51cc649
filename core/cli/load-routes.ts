import { loadConfig } from '../config/load-config.js'
import { prepareTypeScript } from '../config/typescript-loader.js'
import type { Dispatcher } from '../router/route.js'
import { useTopicPrefix } from '../router/topic-prefix.js'
import type { CliContext } from './context.js'

/** The committed routes of an application, for commands that only look at them; no handler ever runs. */
export async function loadRoutes({ root, env }: Pick<CliContext, 'root' | 'env'>): Promise<Dispatcher> {
  useTopicPrefix(loadConfig({ root, env, keepInstance: false }).config.modbus.topicPrefix)
  await prepareTypeScript(root)
  const { loadApp, loadDispatcher } = await import('../kernel/application.js')
  return loadDispatcher(await loadApp(root), {})
}
