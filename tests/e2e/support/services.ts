import { randomUUID } from 'node:crypto'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { freePort } from '../../core/support/free-port.js'
import { listens } from './databases.js'

/** One set of servers the whole suite runs against. */
export interface ServiceSet {
  readonly name: string
  /** Nothing is configured, so that the product brings its own virtual device. */
  readonly demo: boolean
  /** The servers that must listen for it. */
  readonly needs: readonly { readonly name: string; readonly port: number }[]
  /** Creates what the set needs and gives the settings for it; `remove` leaves the servers as they were. */
  open(): Promise<{ env: Record<string, string>; protocol: 4 | 5; remove(): Promise<void> }>
}

export { freePort }

const MOSQUITTO = { name: 'mosquitto', port: 1883 }

/** Client ids, share group and sidecar port of this run alone: outside demo mode a port that is taken ends the start. */
async function ownNames(): Promise<Record<string, string>> {
  const id = randomUUID().slice(0, 8)
  return {
    HTTP_PORT: String(await freePort()),
    MQTT_BROKER: '127.0.0.1',
    MQTT_PORT: '1883',
    MQTT_CLIENT_ID: `e2e-${id}`,
    MQTT_GROUP_NAME: `e2e-${id}`,
  }
}

export const EMBEDDED: ServiceSet = {
  name: 'embedded broker and SQLite',
  demo: true,
  needs: [],
  open: async () => ({ env: {}, protocol: 4, remove: async () => {} }),
}

export const POSTGRES: ServiceSet = {
  name: 'mosquitto and PostgreSQL',
  demo: false,
  needs: [MOSQUITTO, { name: 'PostgreSQL', port: 5432 }],
  async open() {
    const database = `routemq_e2e_${randomUUID().replaceAll('-', '').slice(0, 12)}`
    const server = { host: '127.0.0.1', port: 5432, user: 'postgres', database: 'postgres' }
    const admin = async (statement: string) => {
      const client = new pg.Client(server)
      await client.connect()
      await client.query(statement)
      await client.end()
    }
    await admin(`CREATE DATABASE ${database}`)
    return {
      env: { ...(await ownNames()), DATABASE_URL: `postgresql+asyncpg://postgres@127.0.0.1:5432/${database}` },
      protocol: 5,
      remove: () => admin(`DROP DATABASE ${database} WITH (FORCE)`),
    }
  },
}

export const MARIADB: ServiceSet = {
  name: 'mosquitto and MariaDB',
  demo: false,
  needs: [MOSQUITTO, { name: 'MariaDB', port: 3306 }],
  async open() {
    const database = `routemq_e2e_${randomUUID().replaceAll('-', '').slice(0, 12)}`
    const admin = async (statement: string) => {
      const client = await mysql.createConnection({ host: '127.0.0.1', port: 3306, user: 'root', password: '' })
      await client.query(statement)
      await client.end()
    }
    await admin(`CREATE DATABASE ${database}`)
    return {
      env: {
        ...(await ownNames()),
        ENABLE_MYSQL: 'true',
        DB_HOST: '127.0.0.1',
        DB_PORT: '3306',
        DB_NAME: database,
        DB_USER: 'root',
        DB_PASS: '',
      },
      protocol: 5,
      remove: () => admin(`DROP DATABASE ${database}`),
    }
  },
}

/** The servers of a set that do not listen on this machine. */
export async function missingServers(set: ServiceSet): Promise<string[]> {
  const found = await Promise.all(set.needs.map(async (need) => ((await listens(need.port)) ? undefined : need.name)))
  return found.filter((name) => name !== undefined)
}

/** True where CI says that a missing server is a failure, not a reason to skip. */
export const SERVICES_REQUIRED = process.env.ROUTEMQ_TEST_SERVICES === 'required'
