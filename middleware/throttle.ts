import { throttle } from 'routemq'

/**
 * `throttle:100,60`: 100 messages in 60 seconds a topic. `throttle:100,60,device_id` counts by a parameter, `client` by
 * who sends, a fourth word chooses `fixed`, `sliding` or `token`. Each worker counts for itself; one limit for all of
 * them needs Redis: `throttle({ redis: new Redis(process.env.REDIS_URL) })`.
 */
export default throttle()
