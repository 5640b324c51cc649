import type { Config } from '../config/config.js'

/** `{MQTT_CLIENT_ID}-{instance}-{seat}-{lane}`: the same after a restart, so that the broker finds the session again. */
export function clientIdOf(config: Config, seat: string, lane: string): string {
  return `${config.mqtt.clientId}-${config.app.instance}-${seat}-${lane}`
}
