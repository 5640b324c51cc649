import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadPlant, loadProfiles } from '../../../core/kernel/application.js'
import { createApp } from '../../../core/kernel/create-app.js'
import { folder } from '../support/folder.js'

const named = (file: string, ...mistakes: (string | RegExp)[]) => {
  return (error: { code: string; message: string }) => {
    assert.equal(error.code, 'CONFIG_INVALID')
    const [head, ...lines] = error.message.split('\n')
    assert.ok(head!.includes(file), head)
    assert.equal(lines.length, mistakes.length, error.message)
    for (const [at, mistake] of mistakes.entries()) assert.match(lines[at]!, new RegExp(mistake))
    return true
  }
}

test('every mistake in the file of devices is told at once, with the device it is in', async (t) => {
  const root = folder(t, {
    'package.json': '{"type":"module"}',
    'app/profiles/acme.yaml': 'variables: { base: 1 }\npoints: [{ name: mode, address: "{base}" }]\n',
    'app/devices.js': `export default {
      devices: [
        { device_id: 'a', host: 'h', port: 99999, prt: 1, points: [{ name: 'x', address: -1 }] },
        { device_id: 'a', host: 'h', port: 502 },
        { host: 'h', port: 502 },
        { device_id: 'p', host: 'h', port: 502, profile: 'amce' },
        { device_id: 'q', host: 'h', port: 502, profile: { name: 'acme', variables: { base: 70000 } } },
        null,
      ],
      targets: [{ device_id: 'zz', address: 1 }, { device_id: 'a', address: 70000, cuont: 3 }],
      trgets: [],
    }`,
  })
  await assert.rejects(
    loadPlant(createApp({ root })),
    named(
      'app/devices.js has 12 mistakes',
      'there is no list trgets; want devices and targets',
      'device a: port: ',
      'device a: points\\.0\\.address: ',
      'device a: prt: is not a known field',
      'device a: stands there twice',
      'device 3: device_id: ',
      'device p: profile: there is no profile amce; known are: acme',
      'device q: points\\.0\\.address: ',
      'device 6: is no device',
      'target 1: there is no device "zz"',
      'target 2: address: ',
      'target 2: cuont: is not a known field',
    ),
  )
})

test('a file of devices that cannot be loaded is not called a router', async (t) => {
  for (const [text, message] of [
    ['export default { devices: [ }', /app\/devices\.js could not be loaded: /],
    ['throw new Error("no plant today")', /app\/devices\.js could not be loaded: no plant today/],
    ['export default 5', /app\/devices\.js must export what defineDevices\(\) returns/],
    ['export default { devices: [], targets: {} }', /targets must be a list/],
  ] as const) {
    const root = folder(t, { 'package.json': '{"type":"module"}', 'app/devices.js': text })
    await assert.rejects(loadPlant(createApp({ root })), { code: 'CONFIG_INVALID', message })
  }
})

test('two files that describe one profile are refused: nobody could tell which one holds', async (t) => {
  const root = folder(t, { 'app/profiles/acme.yaml': 'points: []\n', 'app/profiles/acme.json': '{"points":[]}' })
  await assert.rejects(loadProfiles(createApp({ root })), {
    code: 'DEVICE_INVALID',
    message: /acme\.yaml: another file in .* describes the profile acme too/,
  })
})
