import { randomUUID } from 'node:crypto'
import { connect } from 'node:net'
import { join } from 'node:path'
import mysql from 'mysql2/promise'
import pg from 'pg'
import { openEngine } from '../../../core/database/sqlite/engine.js'

/** A database of its own, and a hand that edits it behind the product's back. */
export interface OwnDatabase {
  readonly url: string
  /** Runs one statement. */
  run(statement: string): Promise<void>
  remove(): Promise<void>
}

export interface DatabaseKind {
  readonly name: string
  /** The server that must listen for it; undefined: none. */
  readonly port: number | undefined
  open(root: string): Promise<OwnDatabase>
}

const ownName = () => `routemq_e2e_${randomUUID().replaceAll('-', '').slice(0, 12)}`

export const DATABASES: readonly DatabaseKind[] = [
  {
    name: 'SQLite',
    port: undefined,
    async open(root) {
      const file = join(root, 'data/routemq.db')
      return {
        url: `sqlite:///${file}`,
        async run(statement) {
          const db = openEngine(file)
          db.exec('PRAGMA busy_timeout = 5000')
          db.exec(statement)
          db.close()
        },
        remove: async () => {},
      }
    },
  },
  {
    name: 'PostgreSQL',
    port: 5432,
    async open() {
      const name = ownName()
      const run = async (database: string, statement: string) => {
        const client = new pg.Client({ host: '127.0.0.1', port: 5432, user: 'postgres', database })
        await client.connect()
        await client.query(statement)
        await client.end()
      }
      await run('postgres', `CREATE DATABASE ${name}`)
      return {
        url: `postgresql+asyncpg://postgres@127.0.0.1:5432/${name}`,
        run: (statement) => run(name, statement),
        remove: () => run('postgres', `DROP DATABASE ${name} WITH (FORCE)`),
      }
    },
  },
  {
    name: 'MariaDB',
    port: 3306,
    async open() {
      const name = ownName()
      const run = async (statement: string, database?: string) => {
        const server = { host: '127.0.0.1', port: 3306, user: 'root', password: '' }
        const client = await mysql.createConnection(database === undefined ? server : { ...server, database })
        await client.query(statement)
        await client.end()
      }
      await run(`CREATE DATABASE ${name}`)
      return {
        url: `mysql://root@127.0.0.1:3306/${name}`,
        run: (statement) => run(statement, name),
        remove: () => run(`DROP DATABASE ${name}`),
      }
    },
  },
]

/** True where something on this machine takes connections on the port. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: '127.0.0.1', port })
    socket.once('connect', () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}
