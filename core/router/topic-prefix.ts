let prefix = 'modbus/data'

/**
 * `MQTT_TOPIC_PREFIX`: what the topics begin with under which polled values and the availability of devices are published.
 * For the patterns of router files.
 *
 * @default 'modbus/data'
 */
export function topicPrefix(): string {
  return prefix
}

/** As it is configured; call it before router files are loaded. */
export function useTopicPrefix(configured: string): void {
  prefix = configured
}
