import { prepareTypeScript } from '../config/typescript-loader.js'
import type { Dispatcher } from '../router/route.js'

/** The committed routes of an application, for commands that only look at them; no handler ever runs. */
export async function loadRoutes(root: string): Promise<Dispatcher> {
  await prepareTypeScript(root)
  const { loadApp, loadDispatcher } = await import('../kernel/application.js')
  return loadDispatcher(await loadApp(root), {})
}
