import { defineDevices } from 'routemq'

// Without either, the devices are the virtual one of demo mode. A real one listens on 502, the port of Modbus TCP.
const { PLANT_HOST: plant, PLANT_PORT: plantPort } = process.env
const host = plant ?? '127.0.0.1'
const isVirtual = plant === undefined && plantPort === undefined
const port = Number(plantPort ?? (isVirtual ? 5020 : 502))
/** How both are reached: two units behind one host and port. */
const link = {
  host,
  port,
  framer: 'SOCKET',
  timeout: 1,
  max_retries: 1,
  options: isVirtual ? { virtual: true } : {},
} as const

/**
 * The devices of this installation. They are copied into the database on the first start; from then on the database
 * (and the REST API) owns them. While the database is away, or with `DATABASE_URL=none`, this file is used as it stands.
 */
export default defineDevices({
  devices: [
    {
      device_id: 'office-eng',
      slave_id: 1,
      ...link,
      points: [
        { name: 'temperature', address: 0, type: 'int16', scale: 0.1, unit: '°C', access: 'r' },
        { name: 'humidity', address: 1, type: 'uint16', scale: 0.1, unit: '%', access: 'r' },
        { name: 'power', address: 2, type: 'float32', unit: 'kW', access: 'r' },
        { name: 'energy', address: 4, type: 'uint32', unit: 'kWh', access: 'r' },
        { name: 'level', address: 10, type: 'uint16', unit: '%', min: 0, max: 100 },
        { name: 'setpoint', address: 11, type: 'int16', scale: 0.1, unit: '°C', min: 5, max: 35 },
        { name: 'mode', address: 12, type: 'uint16', enum: { off: 0, heat: 1, cool: 2, auto: 3 } },
        { name: 'running', register_type: 'coil', address: 0, type: 'bool' },
      ],
    },
    {
      device_id: 'formation',
      slave_id: 2,
      ...link,
      points: [
        { name: 'temperature', address: 0, type: 'int16', scale: 0.1, unit: '°C', access: 'r' },
        { name: 'setpoint', address: 11, type: 'int16', scale: 0.1, unit: '°C', min: 5, max: 35 },
        { name: 'running', register_type: 'coil', address: 0, type: 'bool' },
      ],
    },
  ],
  targets: [
    { device_id: 'office-eng', address: 0, count: 6, interval_ms: 1000, description: 'Office, measured values' },
    { device_id: 'office-eng', address: 10, count: 3, interval_ms: 1000, description: 'Office, settings' },
    {
      device_id: 'office-eng',
      register_type: 'coil',
      address: 0,
      count: 1,
      interval_ms: 1000,
      description: 'Office, state',
    },
    { device_id: 'formation', address: 0, count: 1, interval_ms: 1000, description: 'Formation, measured values' },
    { device_id: 'formation', address: 11, count: 1, interval_ms: 5000, description: 'Formation, settings' },
  ],
})
