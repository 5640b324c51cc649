/** What tests of applications import as `routemq/testing`. */
export { startVirtualDevice, type VirtualDevice, type VirtualDeviceOptions } from '../modbus/server/virtual-device.js'
export { FakeClock } from './fake-clock.js'
export { startTestApp, type TestApp, type TestAppOptions } from './test-app.js'
