import { logMessages } from 'routemq'

/** One line a message, at most ten a second and route. In a route: `log`, `log:info`, `log:info,100`. */
export default logMessages({ level: 'debug', perSecond: 10 })
