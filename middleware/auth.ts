import { apiKeyAuth } from 'routemq'

/**
 * Wants one of ROUTEMQ_API_KEYS in the payload field or the MQTT 5 user property `api_key`, and takes it out before
 * anything else sees the message. Without keys everyone passes, and the log says so.
 * Keys by name, so that logs and the audit say who it was: `apiKeyAuth({ keys: { 'line-a': process.env.LINE_A_KEY } })`.
 */
export default apiKeyAuth()
