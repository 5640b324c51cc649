/** `timeout:5s`: time limit of one attempt; past it the handler's `ctx.signal` aborts. */
export { timeout as default } from 'routemq'
