import type { TestContext } from 'node:test'
import type { HttpConfig } from '../../../core/config/config.js'
import { type Sidecar, type SidecarOptions, startSidecar } from '../../../core/http/sidecar.js'
import { type Answer, type CallOptions, call } from './client.js'
import { httpConfig, plant, RUN_TOKEN } from './fake-services.js'

export interface Started extends Sidecar {
  get(path: string, options?: CallOptions): Promise<Answer>
  send(method: string, path: string, body?: unknown, options?: CallOptions): Promise<Answer>
}

type StartOptions = Partial<Omit<SidecarOptions, 'config'>> & { readonly config?: Partial<HttpConfig> }

/** A sidecar on a free port that checks its own answers, closed when the test ends. */
export async function start(context: TestContext, options: StartOptions = {}): Promise<Started> {
  const { config, ...rest } = options
  const sidecar = await startSidecar({
    services: plant(),
    runToken: RUN_TOKEN,
    checkAnswers: true,
    ...rest,
    config: httpConfig(config),
  })
  context.after(() => sidecar.close(1_000))
  return {
    ...sidecar,
    get: (path, callOptions) => call(sidecar.url, 'GET', path, callOptions),
    send: (method, path, body, callOptions) =>
      call(sidecar.url, method, path, { ...callOptions, ...(body === undefined ? {} : { body }) }),
  }
}
