import assert from 'node:assert/strict'
import { test } from 'node:test'
import { planImport } from '../../../core/cli/plant-file/check-plant.js'
import { type Notation, pduAddress } from '../../../core/cli/plant-file/notation.js'
import { type PlantFile, readCsv, readYaml } from '../../../core/cli/plant-file/plant-file.js'

const NOTHING = { devices: [], targets: [] }
const sentences = ({ mistakes }: Pick<PlantFile, 'mistakes'>) =>
  mistakes.map(({ line, message }) => `${line} ${message}`)

test('what the options of a target watch is counted as its address is', () => {
  const of = (notation: Notation, first: number, second: number, type = '') => {
    const yaml = `devices: [{ device_id: a, host: h, port: 502 }]
targets:
  - device_id: a
    address: ${first}
    count: 2
    publish: trigger
    options: { trigger: { address: ${first} }, events: [{ address: ${second} }] }
`
    const csv = `device_id,address,count,publish${type && ',register_type'},options
a,${first},2,trigger${type && `,${type}`},"{""trigger"":{""address"":${first}},""events"":[{""address"":${second}}]}"
`
    const [file, table] = [readYaml(yaml, notation), readCsv(csv, notation)]
    assert.deepEqual([sentences(file), sentences(table)], [[], []])
    const { targets, mistakes } = planImport(file, NOTHING, new Map())
    assert.deepEqual(mistakes, [])
    assert.deepEqual(table.targets[0]!.fields.options, targets.create[0]!.input.options)
    const { address, register_type, options } = targets.create[0]!.input
    return { address, register_type, options }
  }
  const options = { trigger: { address: 10 }, events: [{ address: 11 }] }
  assert.deepEqual(of('pdu', 10, 11), { address: 10, register_type: undefined, options })
  assert.deepEqual(of('one_based', 11, 12), { address: 10, register_type: undefined, options })
  assert.deepEqual(of('modicon5', 30011, 30012), { address: 10, register_type: 'input', options })
  assert.deepEqual(of('modicon6', 400011, 400012, 'holding'), { address: 10, register_type: 'holding', options })
})

test('what a device must not be asked for is counted as the file says', () => {
  const yaml = (forbidden: string) =>
    `- { device_id: a, host: h, port: 502, options: { silence_ms: 5, forbidden: [${forbidden}] } }`
  const of = (text: string, notation: Notation) => {
    const file = readYaml(yaml(text), notation)
    assert.deepEqual(sentences(file), [])
    return (file.devices[0]!.fields.options as { forbidden: unknown[] }).forbidden
  }
  assert.deepEqual(of('{ from: 1, to: 5 }', 'one_based'), [{ from: 0, to: 4 }])
  assert.deepEqual(of('{ from: 30101, to: 30105 }', 'modicon5'), [{ register_type: 'input', from: 100, to: 104 }])
  assert.deepEqual(of('{ from: 1, to: 5 }', 'pdu'), [{ from: 1, to: 5 }])
  const csv = 'device_id,options\na,"{""forbidden"":[{""from"":1,""to"":5}]}"\n'
  assert.deepEqual(readCsv(csv, 'one_based').devices[0]!.fields.options, { forbidden: [{ from: 0, to: 4 }] })
})

test('addresses in options that cannot be meant are told with their line and place', () => {
  const target = (options: string) =>
    sentences(readYaml(`targets:\n- { device_id: a, address: 40001, options: { ${options} } }`, 'modicon5'))
  assert.deepEqual(target('trigger: { address: 30001 }'), [
    '2 options.trigger.address: 30001 is input, the line says holding',
  ])
  assert.deepEqual(target('events: [{ point: p }, { address: 0 }]'), [
    '2 options.events.1.address: "0" is no modicon5 address such as 40001',
  ])
  const range = '- { device_id: a, host: h, port: 1, options: { forbidden: [{ from: 40001, to: 30005 }] } }'
  assert.deepEqual(sentences(readYaml(range, 'modicon5')), [
    '1 options.forbidden.0.to: 30005 is input, the line says holding',
  ])
})

test('five digits are no holding register of six: they are not taken for a coil', () => {
  for (const text of ['40001', '30001', '10001']) {
    assert.equal(
      pduAddress(text, 'modicon6'),
      `"${text}" has five digits: write 0${text} for coil ${text}, or --notation modicon5`,
    )
  }
  assert.deepEqual(pduAddress('040001', 'modicon6'), { address: 40_000, register_type: 'coil' })
  assert.deepEqual(pduAddress('400001', 'modicon6'), { address: 0, register_type: 'holding' })
  assert.deepEqual(pduAddress('1', 'modicon6'), { address: 0, register_type: 'coil' })
  assert.deepEqual(pduAddress('20001', 'modicon6'), { address: 20_000, register_type: 'coil' })
})

test('a target of a file that watches a point it does not read is told by its line', () => {
  const yaml = (second: string) => `devices:
- { device_id: a, host: h, port: 1, points: [{ name: p, address: 0 }, { name: q, address: 5 }] }
targets:
- { device_id: a, address: 0, publish: trigger, options: { trigger: { point: p } } }
- { device_id: a, address: 0, publish: trigger, options: { trigger: { point: ${second} } } }
`
  const said = (second: string) => sentences(planImport(readYaml(yaml(second), 'pdu'), NOTHING, new Map()))
  assert.deepEqual(said('q'), ['5 options.trigger: point "q" must lie inside the block of the target'])
  assert.deepEqual(said('r'), ['5 options.trigger: device a has no point "r"'])
})
