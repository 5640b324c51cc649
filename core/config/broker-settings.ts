import { type Mistakes, maskUrl } from './mistakes.js'
import type { Resolved } from './resolve.js'
import { type BrokerAddress, brokerUrlOfHost, parseBrokerUrl } from './urls.js'

export interface BrokerChoice {
  /** Undefined: the embedded broker. */
  readonly address: BrokerAddress | undefined
  /** Whether anything named a broker, `embedded` included. */
  readonly named: boolean
}

/** Which broker is meant by MQTT_URL, MQTT_BROKER and MQTT_PORT together. */
export function chooseBroker(resolved: Resolved, mistakes: Mistakes, warnings: string[]): BrokerChoice {
  const { values, origins } = resolved
  const url = origins.get('mqttUrl')
  const host = origins.get('mqttBroker')
  if (url === undefined && host === undefined) return { address: undefined, named: false }
  const byUrl = url !== undefined && (host === undefined || url.rank <= host.rank)
  const won = (byUrl ? url : host)!
  const read = (text: string): BrokerAddress | 'embedded' | undefined => {
    if (text.toLowerCase() === 'embedded') return 'embedded'
    const parsed = parseBrokerUrl(text, values.mqttPort)
    if (parsed !== undefined || text.includes('://')) return parsed
    const plain = byUrl ? undefined : brokerUrlOfHost(text, values.mqttPort)
    return plain === undefined ? undefined : { url: plain, username: undefined, password: undefined }
  }
  const address = read(won.text)
  if (address === undefined) {
    mistakes.add({
      key: won.name,
      got: maskUrl(won.text),
      want: 'mqtt://host:port, mqtts://, ws://, wss:// or embedded',
    })
    return { address: undefined, named: true }
  }
  if (address === 'embedded') return { address: undefined, named: true }
  if (url !== undefined && host !== undefined) {
    const lost = byUrl ? host : url
    const other = lost.text.includes('://')
      ? parseBrokerUrl(lost.text, values.mqttPort)?.url
      : brokerUrlOfHost(lost.text, values.mqttPort)
    if (other !== address.url) {
      warnings.push(`${won.name} (${won.from}) names the broker; ${lost.name} (${lost.from}) differs and is not used.`)
    }
  }
  const port = origins.get('mqttPort')
  if (port !== undefined && !address.url.replace(/^(\w+:\/\/[^/]*).*$/, '$1').endsWith(`:${values.mqttPort}`)) {
    warnings.push(`${won.name} (${won.from}) names the port of the broker; ${port.name}=${port.text} is not used.`)
  }
  return { address, named: true }
}
