import type { Params, ParamValue } from './context.js'

/** Puts the values of a match, in the order of the names, into a plain object. */
export type MakeParams = (values: readonly ParamValue[]) => Params

/** Names by their list, so that ten thousand routes on `device_id` share one function. */
const makers = new Map<string, MakeParams>()

export function paramsMaker(names: readonly string[]): MakeParams {
  const key = names.join('/')
  let maker = makers.get(key)
  if (maker === undefined) {
    const shared = [...names]
    maker = (values) => {
      const params: Record<string, ParamValue> = {}
      for (let index = 0; index < shared.length; index += 1) params[shared[index]!] = values[index]!
      return params
    }
    makers.set(key, maker)
  }
  return maker
}
