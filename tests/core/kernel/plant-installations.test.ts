import assert from 'node:assert/strict'
import { test } from 'node:test'
import { onEachDatabase, openStore, ownDatabase } from '../database/databases.js'
import { ACTOR, plantOf } from './plant-kit.js'

onEachDatabase((kind) => {
  test(`${kind}: two installations that change other fields of one device lose none`, async (t) => {
    const own = await ownDatabase(kind)
    t.after(() => own.drop())
    const open = async (instance: string) => {
      const store = await openStore(own.config, { instance })
      const plant = plantOf({ tables: () => store })
      await plant.start()
      return { store, plant }
    }
    const [here, there] = [await open('a'), await open('b')]
    try {
      const options = { delay_ms: 5 }
      await here.plant.devices.create({ device_id: 'd', host: 'h', port: 1, options }, ACTOR)
      // The second has not looked at the table since: it knows no such device yet.
      await there.plant.devices.update('d', { write_enabled: false }, ACTOR)
      for (let round = 1; round <= 5; round += 1) {
        await Promise.all([
          here.plant.devices.update('d', { timeout: round }, ACTOR),
          there.plant.devices.update('d', { max_retries: round }, ACTOR),
          here.plant.devices.update('d', { points: [{ name: `p${round}`, address: round }] }, ACTOR),
        ])
      }
      const [record] = await here.store.devices.list()
      const { timeout, max_retries, write_enabled, points } = record!
      assert.deepEqual(
        { timeout, max_retries, write_enabled, points, options: record!.options },
        { timeout: 5, max_retries: 5, write_enabled: false, points: [{ name: 'p5', address: 5 }], options },
      )
    } finally {
      for (const { store, plant } of [here, there]) {
        plant.stop()
        await store.close()
      }
    }
  })
})
