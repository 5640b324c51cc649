import { createApp } from 'routemq'

export default createApp({ root: new URL('..', import.meta.url) })
