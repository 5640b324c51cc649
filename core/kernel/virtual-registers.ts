import { SqliteThread } from '../database/sqlite/client.js'
import type { RegisterStore, StoredRegisters } from '../modbus/server/register-store.js'

const CREATE = 'create table if not exists virtual_registers (device text primary key, registers text not null)'
const SAVE =
  'insert into virtual_registers (device, registers) values (?, ?) on conflict (device) do update set registers = excluded.registers'

/** What masters wrote to virtual devices, in an SQLite file of its own: a line's slave does not wait for a server database. */
export class VirtualRegisters {
  readonly #thread: SqliteThread
  #ready: Promise<unknown> | undefined

  constructor(file: string) {
    this.#thread = new SqliteThread(file)
  }

  of(device: string): RegisterStore {
    return {
      load: async () => {
        const { rows } = await this.#query('select registers from virtual_registers where device = ?', [device])
        const text = rows[0]?.registers
        return text === undefined ? undefined : (JSON.parse(String(text)) as StoredRegisters)
      },
      save: async (registers) => {
        await this.#query(SAVE, [device, JSON.stringify(registers)])
      },
    }
  }

  close(): Promise<void> {
    return this.#thread.close()
  }

  async #query(sql: string, params: readonly unknown[]) {
    this.#ready ??= this.#thread.query(CREATE, []).catch((error: unknown) => {
      this.#ready = undefined
      throw error
    })
    await this.#ready
    return this.#thread.query(sql, params)
  }
}
