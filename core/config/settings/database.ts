import { choice, flag, integer, text } from '../kinds.js'
import { setting } from '../setting.js'

/** The database. */
export const DATABASE_SETTINGS = {
  databaseUrl: setting({
    path: 'database.url',
    names: ['DATABASE_URL'],
    kind: text('sqlite:///file, postgres://…, mysql://… or none'),
    secret: 'file',
    about:
      'Database as a URL (driver suffixes such as `+asyncpg` are ignored), or `none`. Its password alone changes live.',
  }),
  enableMysql: setting({
    path: 'database.enable_mysql',
    names: ['ENABLE_MYSQL'],
    kind: flag(),
    about: 'true: MySQL at the DB_* settings; false: the DB_* settings are not used.',
  }),
  dbKind: setting({
    path: 'database.connection',
    names: ['DB_CONNECTION'],
    kind: choice<'postgres' | 'mysql'>({
      postgres: 'postgres',
      postgresql: 'postgres',
      pgsql: 'postgres',
      mysql: 'mysql',
      mariadb: 'mysql',
    }),
    about: 'Which server the DB_* settings name: postgres or mysql. Default: postgres on port 5432, else mysql.',
  }),
  dbHost: setting({ path: 'database.host', names: ['DB_HOST'], kind: text('a host name'), about: 'Database server.' }),
  dbPort: setting({
    path: 'database.port',
    names: ['DB_PORT'],
    kind: integer(1, 65_535),
    about: 'Its port (3306 for MySQL, 5432 for PostgreSQL).',
  }),
  dbName: setting({
    path: 'database.name',
    names: ['DB_NAME'],
    kind: text(),
    fallback: 'routemq',
    about: 'Name of the database.',
  }),
  dbUser: setting({
    path: 'database.user',
    names: ['DB_USER'],
    kind: text(),
    secret: 'file',
    about: 'User of the database; root for MySQL, postgres for PostgreSQL.',
  }),
  dbPass: setting({
    path: 'database.password',
    names: ['DB_PASS'],
    kind: text(),
    secret: 'file',
    effect: 'live',
    about: 'Password of that user. With a change of where the database is, or who uses it, it needs a restart.',
  }),
  dbPool: setting({
    path: 'database.pool_size',
    names: ['DB_POOL_SIZE'],
    kind: integer(1, 100),
    fallback: 5,
    about: 'Connections kept to a database server. Two more read history, one renews leases.',
  }),
  dbEcho: setting({
    path: 'database.echo',
    names: ['DATABASE_ECHO'],
    kind: flag(),
    fallback: false,
    about: 'Logs every statement.',
  }),
} as const
