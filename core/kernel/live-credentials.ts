import type { MqttConfig } from '../config/config.js'

/** The settings of a link whose credentials are those in force: a link asks for them with each connection it makes. */
export function liveCredentials(
  mqtt: MqttConfig,
  inForce: () => Pick<MqttConfig, 'username' | 'password'>,
): MqttConfig {
  return {
    ...mqtt,
    get username() {
      return inForce().username
    },
    get password() {
      return inForce().password
    },
  }
}
