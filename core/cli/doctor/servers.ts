import { existsSync } from 'node:fs'
import type { Config } from '../../config/config.js'
import { printableUrl } from '../../mqtt/connect-options.js'
import type { Connection } from '../../mqtt/connection.js'
import { openBroker } from '../broker-session.js'
import type { CliContext } from '../context.js'
import { RunningProduct } from '../running-product.js'
import { openStore } from '../store-session.js'
import { error, type Finding, ok, reasonOf, warning } from './finding.js'

/** How long a broker may take to say what it is; most say nothing. */
const VERSION_MS = 1_000

export async function checkBroker(context: CliContext, config: Config): Promise<Finding[]> {
  if (config.mqtt.url === undefined && RunningProduct.find(context.root) === undefined) {
    return [ok('broker', 'the embedded one, which starts with the product')]
  }
  let connection: Connection
  try {
    connection = await openBroker(context)
  } catch (cause) {
    return [error('broker', reasonOf(cause))]
  }
  try {
    const { protocol, server } = connection
    const name = await brokerName(connection)
    const where = printableUrl(config.mqtt.url ?? 'the embedded one')
    const findings = [
      ok('broker', `${where} speaks MQTT ${protocol === 5 ? '5' : '3.1.1'}${name === '' ? '' : `, ${name}`}`),
    ]
    if (protocol === 4) findings.push(warning('broker version', 'MQTT 3.1.1: commands carry no expiry; prefer MQTT 5'))
    if (server.sharedSubscriptionAvailable === false) {
      findings.push(error('shared subscriptions', 'the broker has none: shared routes would get nothing'))
    }
    if (server.retainAvailable === false) findings.push(warning('retained messages', 'the broker keeps none'))
    if (server.maximumQoS === 0) findings.push(error('quality of service', 'the broker grants only QoS 0'))
    if (/mosquitto/i.test(name)) {
      findings.push(
        warning(
          'broker queue',
          'mosquitto drops silently beyond max_queued_messages (1,000 by default): set it higher',
        ),
      )
    }
    return findings
  } finally {
    await connection.end()
  }
}

/** As mosquitto and others tell it under `$SYS`; empty where nothing comes. */
function brokerName({ client }: Connection): Promise<string> {
  return new Promise((resolve) => {
    const late = setTimeout(() => resolve(''), VERSION_MS)
    client.on('message', (_topic, payload) => {
      clearTimeout(late)
      resolve(payload.toString().slice(0, 80))
    })
    client.subscribe('$SYS/broker/version', (cause) => {
      if (cause) resolve('')
    })
  })
}

export async function checkDatabase(context: CliContext, { database }: Config): Promise<Finding[]> {
  if (database.kind === 'none')
    return [warning('database', 'none is configured: no readings, no audit, no dead letters')]
  if (database.kind === 'sqlite' && !existsSync(database.file)) {
    return [ok('database', `${database.file} is made by the first start`)]
  }
  try {
    const store = await openStore(context)
    if (store === undefined) return [warning('database', 'there is none')]
    try {
      if (store.state.name !== 'ok') return [error('database', `${store.address}: ${store.state.reason}`)]
      const { framework, app } = await store.migrationStatus()
      const waiting = [...framework, ...app].filter(({ appliedAt }) => appliedAt == null).map(({ name }) => name)
      const there = ok('database', `${store.address} answers`)
      if (waiting.length === 0) return [there, ok('migrations', 'all have run')]
      return [there, warning('migrations', `${waiting.join(', ')} will run with the next start`)]
    } finally {
      await store.close()
    }
  } catch (cause) {
    return [error('database', reasonOf(cause))]
  }
}
