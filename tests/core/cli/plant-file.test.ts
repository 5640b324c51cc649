import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planImport } from '../../../core/cli/plant-file/check-plant.js'
import { type PlantFile, readCsv, readPlant, readYaml } from '../../../core/cli/plant-file/plant-file.js'
import {
  devicesCsv,
  type Plant,
  plantJson,
  plantYaml,
  pointsCsv,
  targetsCsv,
} from '../../../core/cli/plant-file/write-plant.js'
import { normalizeDevice, updateDevice } from '../../../core/modbus/device-schema.js'
import { POINT_TYPES, type PointDefinition } from '../../../core/modbus/point.js'
import { DevicePoints } from '../../../core/modbus/points.js'
import { normalizeTarget, updateTarget } from '../../../core/modbus/target-schema.js'

const ALL = { address: 0, count: 65_536 }
const NOTHING: Plant = { devices: [], targets: [] }
/** Names and texts that files like to mangle. */
const TEXTS = [
  'plain',
  'with space',
  ' padded ',
  'a,b',
  'a;b',
  'say "hi"',
  'grün °C',
  '1e5',
  'true',
  '=1+1',
  '{x}',
  '- no',
  'null',
  "it's",
]

/** A generator of its own, so that a failure can be had again. */
function seeded(seed: number) {
  let state = seed
  const below = (n: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((state / 2 ** 32) * n)
  }
  const pick = <T>(from: readonly T[]): T => from[below(from.length)]!
  const maybe = <T extends object>(value: T): T | Record<string, never> => (below(2) === 0 ? value : {})
  return { below, pick, maybe }
}

function randomPoint(name: string, { below, pick, maybe }: ReturnType<typeof seeded>): PointDefinition {
  const type = pick(POINT_TYPES)
  const address = below(60_000)
  const common = { name, address, ...maybe({ unit: pick(TEXTS) }), ...maybe({ retry: 'safe' as const }) }
  const order = maybe({ order: pick(['ABCD', 'CDAB', 'BADC', 'DCBA'] as const) })
  switch (type) {
    case 'bool':
      return pick([
        { ...common, type, register_type: 'coil' as const },
        { ...common, register_type: 'discrete' as const, access: 'r' as const },
        { ...common, type, ...maybe({ enum: { off: 0, [pick(TEXTS)]: 1 } }) },
      ])
    case 'bit':
      return { ...common, type, bit: below(8), width: 2, enum: { [pick(TEXTS)]: 0, 'a=b': 3 } }
    case 'string':
    case 'raw':
      return { ...common, type, length: 1 + below(20), ...order }
    default: {
      const scale = pick([0.1, 0.01, 1e-7, 12.5, -1, 1000])
      const limits = { min: -below(1_000), max: below(1_000) + 0.5, step: pick([0.5, 1, 0.001]) }
      return {
        ...common,
        type,
        ...order,
        scale,
        ...maybe({ offset: -0.5 }),
        ...maybe(limits),
        ...maybe({ invalid: [65_535, 7] }),
      }
    }
  }
}

function randomPlant(seed: number): Plant {
  const random = seeded(seed)
  const { below, pick, maybe } = random
  const devices = Array.from({ length: 1 + below(4) }, (_, at) => {
    const points = Array.from({ length: below(6) }, (_, i) =>
      randomPoint(`${pick(TEXTS).replace('+', '')}${i}`, random),
    )
    const where = pick([
      { host: `10.0.0.${at}`, port: 502, framer: 'SOCKET' },
      { path: `/dev/tty${at}`, baud_rate: 19_200, parity: 'even' },
      { host: `10.0.1.${at}`, port: 503, transport: 'udp', unit_id: below(256) },
    ])
    return normalizeDevice(
      {
        device_id: `${pick(['meter', 'a.b', '007', 'true', 'x,y', 'Ü "q"'])} ${at}`,
        ...where,
        points,
        timeout: 1 + below(30),
        write_enabled: below(2) === 0,
        raw_write: pick(['allow', 'points', 'deny']),
        is_active: below(4) > 0,
        options: {
          ...maybe({ delay_ms: 2.5 }),
          ...maybe({ forbidden: [{ register_type: 'holding', from: 1, to: 9 }] }),
        },
      },
      0,
    )
  })
  const targets = Array.from({ length: below(8) }, (_, id) => {
    const device = pick(devices)
    // An event names a point inside the block.
    const point = below(2) === 0 ? new DevicePoints(device).inside({ ...ALL, register_type: 'holding' })[0] : undefined
    const register_type = point === undefined ? pick(['holding', 'input', 'coil', 'discrete'] as const) : 'holding'
    const address = point?.address ?? below(65_000)
    const events = point === undefined ? [{ address }] : [{ point: point.name }]
    const mode = pick([
      { publish: 'always' as const },
      { publish: 'deadband' as const, options: { deadband: 0.25, retain: true } },
      { publish: 'trigger' as const, options: { trigger: { address }, events } },
    ])
    return normalizeTarget(
      {
        device_id: device.device_id,
        register_type,
        address,
        count: (point?.words ?? 1) + below(100),
        ...maybe({ description: pick(TEXTS) }),
        ...maybe({ interval_ms: 100 }),
        is_active: below(3) > 0,
        ...mode,
      },
      id + 1,
      0,
    )
  })
  // One block twice, told apart by how it is published.
  const twice = targets.slice(0, 1).map((target) => ({ ...target, id: 99, interval_ms: 7_777 }))
  return { devices, targets: [...targets, ...twice] }
}

/** What an import of files into an empty installation makes of them, one file after the other. */
function imported(files: readonly PlantFile[]): Plant {
  let plant = NOTHING
  for (const file of files) {
    const { create, update, targets, mistakes } = planImport(file, plant, new Map())
    assert.deepEqual(mistakes, [])
    assert.deepEqual(targets.update, [])
    const changed = new Map(update.map(({ device_id, changes }) => [device_id, changes]))
    plant = {
      devices: [
        ...plant.devices.map((device) => ({ ...device, ...changed.get(device.device_id) }) as typeof device),
        ...create.map((input) => normalizeDevice(input, 0)),
      ],
      targets: [...plant.targets, ...targets.create.map(({ input }, at) => normalizeTarget(input, at + 1, 0))],
    }
  }
  return plant
}

const unnumbered = ({ devices, targets }: Plant) => ({
  devices,
  targets: targets.map((target) => ({ ...target, id: 0 })),
})

test('80 plants come back from YAML, JSON and CSV as they were: devices, points, polling targets', () => {
  for (let seed = 1; seed <= 80; seed += 1) {
    const plant = randomPlant(seed)
    const want = unnumbered(plant)
    assert.deepEqual(unnumbered(imported([readYaml(plantYaml(plant), 'pdu')])), want, `yaml, seed ${seed}`)
    assert.deepEqual(unnumbered(imported([readYaml(plantJson(plant), 'pdu')])), want, `json, seed ${seed}`)
    const tables = [devicesCsv(plant.devices), pointsCsv(plant.devices), targetsCsv(plant.targets)]
    assert.deepEqual(unnumbered(imported(tables.map((text) => readCsv(text, 'pdu')))), want, `csv, seed ${seed}`)
  }
})

test('what is imported again changes the targets that are there, and adds none', () => {
  const plant = randomPlant(4)
  assert.ok(plant.targets.length > 2)
  const { create, targets, mistakes } = planImport(readYaml(plantYaml(plant), 'pdu'), plant, new Map())
  assert.deepEqual([create, targets.create, mistakes], [[], [], []])
  assert.deepEqual(
    targets.update.map(({ id }) => id).sort((a, b) => a - b),
    plant.targets.map(({ id }) => id),
  )
})

test('every bad line of polling targets is told by its number, in CSV and in YAML', () => {
  const device = normalizeDevice({ device_id: 'a', host: 'h', port: 502 })
  const linesOf = (file: PlantFile) =>
    planImport(file, { devices: [device], targets: [] }, new Map()).mistakes.map(
      ({ line, message }) => `${line} ${message}`,
    )
  const csv = `device_id,address,count,publish,interval_ms,options
a,1,2,always,1000,
nobody,1,2,,,
a,x,2,,,
a,1,126,,,
a,5,2,sometimes,,
a,5,2,deadband,,
a,5,2,,soon,
a,5,2,,,"{""strange"": 1}"
a,1,2,always,1000,
a,5
`
  const found = linesOf(readCsv(csv, 'pdu'))
  const numbers = (all: string[]) => [...new Set(all.map((one) => Number(one.split(' ')[0])))]
  assert.deepEqual(numbers(found), [3, 4, 5, 6, 7, 8, 9, 10, 11], found.join('\n'))
  assert.ok(found.includes('3 there is no device "nobody"'), found.join('\n'))
  assert.ok(found.includes('7 options.deadband: is needed when publish is deadband'), found.join('\n'))
  assert.ok(found.includes('10 the same target stands in line 2 already'), found.join('\n'))
  const yaml = `targets:
  - { device_id: a, address: 1 }
  - { device_id: nobody, address: 1 }
  - device_id: a
    address: 1
    cuont: 3
  - just a text
`
  const inYaml = linesOf(readYaml(yaml, 'pdu'))
  assert.deepEqual(numbers(inYaml), [3, 4, 7], inYaml.join('\n'))
  assert.deepEqual(linesOf(readYaml('targets: 5\ndevcies: []\n', 'pdu')), [
    '1 `targets` must be a list',
    '2 there is no list `devcies`; want devices and targets',
  ])
})

test('targets are counted as the file says, and their device may stand in the same file', () => {
  const yaml = 'devices: [{ device_id: a, host: h, port: 502 }]\ntargets: [{ device_id: a, address: 30011 }]\n'
  const { targets, mistakes } = planImport(readYaml(yaml, 'modicon5'), NOTHING, new Map())
  assert.deepEqual(mistakes, [])
  assert.deepEqual(
    targets.create.map(({ input }) => input),
    [{ device_id: 'a', address: 10, register_type: 'input' }],
  )
})

test('what a YAML file says once and refers to is read where it is referred to', () => {
  const yaml = `devices:
  - { device_id: a, host: h, port: 502, points: &points [{ name: x, address: 1 }] }
  - &b { device_id: b, host: h, port: 502, slave_id: 2, points: *points }
  - { <<: *b, device_id: c, slave_id: 3 }
`
  const { create, mistakes } = planImport(readYaml(yaml, 'pdu'), NOTHING, new Map())
  assert.deepEqual(mistakes, [])
  assert.deepEqual(
    create.map(({ device_id, host, slave_id, points }) => [device_id, host, slave_id, points?.length]),
    [
      ['a', 'h', undefined, 1],
      ['b', 'h', 2, 1],
      ['c', 'h', 3, 1],
    ],
  )
})

test('a line is told where it begins, whatever line ends stand in the quoted cells before it', () => {
  for (const end of ['\n', '\r\n', '\r']) {
    const lines = [
      'device_id;address;description',
      'd;1;"two',
      'lines"',
      '',
      ';;',
      'd;99999;x',
      'd;2;"some',
      'more"',
      'd;-1;"and',
      'more"',
    ]
    const { targets, mistakes } = readCsv(`\ufeff${lines.join(end)}${end}`, 'pdu')
    const told = targets.map(({ line, fields }) => [line, fields.address])
    assert.deepEqual(
      told.slice(0, 3),
      [
        [2, 1],
        [6, 99_999],
        [7, 2],
      ],
      JSON.stringify(end),
    )
    assert.deepEqual(mistakes, [{ line: 9, message: 'address: "-1" is no address' }])
    const open = readCsv(`device_id,address,description${end}d,1,"a${end}b"${end}d,2,"c${end}d,3,e${end}`, 'pdu')
    assert.deepEqual([open.mistakes.length, open.mistakes[0]?.line], [1, 4], 'the quote that is not closed')
  }
})

test('a column that stands there twice is a mistake: one of its cells would be lost', () => {
  const { points, mistakes } = readCsv('device_id,name,address,address\nd,a,1,2\n', 'pdu')
  assert.deepEqual(mistakes, [{ line: 1, message: 'the column address stands there twice' }])
  assert.deepEqual(points, [])
})

test('an address that is none is told once, and a decimal comma how to write it', () => {
  const known = { devices: [normalizeDevice({ device_id: 'd', host: 'h', port: 1 })], targets: [] }
  const told = (text: string) => planImport(readCsv(text, 'modicon5'), known, new Map()).mistakes
  assert.deepEqual(told('device_id;name;address;scale\nd;a;65536;\nd;b;40001;0,1\n'), [
    { line: 2, message: 'address: "65536" is no modicon5 address such as 40001' },
    { line: 3, message: 'scale: "0,1" is no number; a decimal point, please: 0.1' },
  ])
  assert.deepEqual(
    told('device_id,address\nd,\nd,x\n').map(({ line }) => line),
    [2, 3],
  )
})

test('text in another encoding is told by its line, not taken with other signs', () => {
  const ansi = Buffer.from('device_id,name,address,unit\nd,a,1,m\nd,b,2,°C\n', 'latin1')
  for (const form of ['csv', 'yaml'] as const) {
    const { mistakes } = readPlant(ansi, form, 'pdu')
    assert.deepEqual(mistakes, [{ line: 3, message: 'is not UTF-8; spreadsheets save that as "CSV UTF-8"' }])
  }
  const utf8 = readPlant(Buffer.from('device_id,name,address,unit\nd,b,2,°C\n'), 'csv', 'pdu')
  assert.deepEqual([utf8.points[0]?.fields.unit, utf8.mistakes], ['°C', []])
})

test('leading zeros of YAML addresses count, where they say which register is meant', () => {
  const file = readYaml(
    'devices:\n  - device_id: d\n    options: { forbidden: [{ from: 040001, to: 040002 }] }\n' +
      '    points: [{ name: a, address: 010001 }, { name: b, address: 000001 }, { name: c, address: 400011 }]\n' +
      'targets: [{ device_id: d, address: 040001 }]\n',
    'modicon6',
  )
  assert.deepEqual(file.mistakes, [])
  const places = file.devices[0]?.points?.map(({ fields }) => [fields.register_type, fields.address])
  assert.deepEqual(places, [
    ['coil', 10_000],
    ['coil', 0],
    ['holding', 10],
  ])
  assert.deepEqual(file.devices[0]?.fields.options, {
    forbidden: [{ register_type: 'coil', from: 40_000, to: 40_001 }],
  })
  assert.deepEqual([file.targets[0]?.fields.register_type, file.targets[0]?.fields.address], ['coil', 40_000])
  const wrong = readYaml('devices:\n  - { device_id: d, device_id: e }\n---\ndevices: []\n', 'pdu')
  assert.deepEqual(wrong.mistakes, [
    { line: 2, message: 'Map keys must be unique' },
    { line: 3, message: 'a second document begins here; want one' },
  ])
})

test('what is imported again is as it was exported, also what had been set since', () => {
  const device = (more: object) =>
    normalizeDevice({ device_id: 'd', host: '10.0.0.1', port: 502, framer: 'SOCKET', ...more })
  const target = (more: object) => normalizeTarget({ device_id: 'd', address: 1, ...more }, 1)
  const point = { name: 'mode', address: 1, enum: { '': 0 } }
  const before: Plant = { devices: [device({ points: [point] })], targets: [target({})] }
  const since: Plant[] = [
    {
      devices: [device({ unit_id: 5, timeout_ms: 300, poll_timeout_ms: 50, options: { delay_ms: 5 } })],
      targets: [target({ interval_ms: 500, options: { qos: 1 } })],
    },
    {
      devices: [normalizeDevice({ device_id: 'd', path: '/dev/ttyS0', baud_rate: 1_200, parity: 'even' })],
      targets: before.targets,
    },
  ]
  const plain = ({ devices, targets }: Plant) => JSON.parse(plantJson({ devices, targets }))
  const files = [
    [readYaml(plantYaml(before), 'pdu')],
    [readYaml(plantJson(before), 'pdu')],
    [devicesCsv(before.devices), pointsCsv(before.devices), targetsCsv(before.targets)].map((text) =>
      readCsv(text, 'pdu'),
    ),
  ]
  for (const plant of since) {
    for (const parts of files) {
      let now = plant
      for (const part of parts) {
        const { update, targets, mistakes } = planImport(part, now, new Map())
        assert.deepEqual(mistakes, [])
        now = {
          devices: now.devices.map((one) => updateDevice(one, update[0]?.changes ?? {})),
          targets: now.targets.map((one) => updateTarget(one, targets.update[0]?.changes ?? {})),
        }
      }
      assert.deepEqual(plain(now), plain(before))
    }
  }
})
