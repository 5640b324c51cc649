import { APP_SETTINGS } from './settings/app.js'
import { DATABASE_SETTINGS } from './settings/database.js'
import { HTTP_SETTINGS } from './settings/http.js'
import { KEEP_SETTINGS } from './settings/keep.js'
import { LOG_SETTINGS } from './settings/log.js'
import { MODBUS_SETTINGS } from './settings/modbus.js'
import { MQTT_SETTINGS } from './settings/mqtt.js'
import { TRACE_SETTINGS } from './settings/trace.js'

export type { Effect, Setting } from './setting.js'

/** Every setting of the product. `docs/reference/configuration.md` lists each; a test compares them. */
export const SETTINGS = {
  ...APP_SETTINGS,
  ...MQTT_SETTINGS,
  ...DATABASE_SETTINGS,
  ...KEEP_SETTINGS,
  ...MODBUS_SETTINGS,
  ...HTTP_SETTINGS,
  ...LOG_SETTINGS,
  ...TRACE_SETTINGS,
} as const

export type SettingKey = keyof typeof SETTINGS
