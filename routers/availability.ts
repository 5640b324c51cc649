import { Router, topicPrefix } from 'routemq'

const router = new Router()

const known = new Map<string, string>()

// A plain route: every installation hears every device come and go, also what was retained before it started. The poller
// renews what it says; only a change is worth a line.
router.on(
  `${topicPrefix()}/{device_id}/availability`,
  (ctx) => {
    const { device_id } = ctx.params
    if (known.get(device_id) === ctx.payload) return
    known.set(device_id, ctx.payload)
    ctx.log.info({ device_id, availability: ctx.payload }, 'device availability')
  },
  { name: 'availability', codec: 'text', retained: true },
)

export default router
