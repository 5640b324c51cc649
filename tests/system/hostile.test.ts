import assert from 'node:assert/strict'
import { test } from 'node:test'
import { hostileRequests, sendAll } from '../core/http/hostile-requests.js'
import { DATABASES, listens } from '../e2e/support/databases.js'
import { Product } from '../e2e/support/product.js'
import { makeProject } from '../e2e/support/project.js'
import { ok, RestClient } from '../e2e/support/rest-client.js'
import { SERVICES_REQUIRED } from '../e2e/support/services.js'

const REQUESTS = process.env.ROUTEMQ_PROOF === 'full' ? 10_000 : 800

for (const kind of DATABASES) {
  test(`${REQUESTS} requests made from the OpenAPI document on ${kind.name}: only documented answers, and nothing of it is SQL`, async (t) => {
    if (kind.port !== undefined && !SERVICES_REQUIRED && !(await listens(kind.port))) {
      t.skip(`missing: ${kind.name}`)
      return
    }
    const project = makeProject()
    const database = await kind.open(project.root)
    const product = await Product.start(project.root, {
      env: { ROUTEMQ_DEMO: 'true', DATABASE_URL: database.url, LOG_LEVEL: 'warn' },
    })
    t.after(async () => {
      const code = await product.stop()
      await database.remove()
      project.remove()
      assert.equal(code, 0, product.text)
    })
    const { url, token } = product.run.http!
    const rest = new RestClient(url, { authorization: `Bearer ${token}` })
    const { host, port } = product.run.device!
    const device = { device_id: 'meter-1', host, port, framer: 'SOCKET', points: [{ name: 'level', address: 10 }] }
    await ok(rest.send('POST', '/api/admin/devices', device), 201)

    // Workers that are restarted at random are another test.
    const isWanted = (path: string, method: string) => method === 'GET' || !path.startsWith('/api/admin/workers')
    const next = hostileRequests((await product.json('/openapi.json')).body, 90_210, isWanted)
    const counts = await sendAll({ url, key: token }, next, { requests: REQUESTS, atOnce: 4 }, ({ text }, { target }) =>
      assert.doesNotMatch(text, /syntax error|SQLITE_[A-Z]|\bER_[A-Z]|near "|relation "/, target),
    )
    t.diagnostic(`answers by status: ${JSON.stringify(counts)}`)
    assert.equal((await ok(rest.get('/api/admin/devices/meter-1'))).device_id, 'meter-1', 'no table was dropped')
    assert.equal((await product.fetch('/ready')).status, 200)
    assert.doesNotMatch(product.text, /INTERNAL|a request failed|unhandled/i)
  })
}
