import { Router } from 'routemq'
import { ControlCommand, ReadCommand, WriteCommand } from '../app/commands.js'
import { DeviceController } from '../controllers/device-controller.js'

const router = new Router()

router.group(
  {
    prefix: 'devices/{device_id}',
    name: 'devices.',
    middleware: ['log', 'auth', 'throttle:600,60'],
    qos: 1,
    shared: true,
    workers: 2,
  },
  (device) => {
    device.on('read', [DeviceController, 'read'], { name: 'read', payload: ReadCommand, reply: true })
    device.on('write', [DeviceController, 'write'], {
      name: 'write',
      payload: WriteCommand,
      reply: true,
      maxAge: '30s',
    })
    device.on('control', [DeviceController, 'control'], {
      name: 'control',
      payload: ControlCommand,
      reply: true,
      maxAge: '30s',
    })
  },
)

export default router
