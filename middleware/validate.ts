/** `validate`: checks the payload here instead of right before the handler. `validate:request_id` wants that field too. */
export { validate as default } from 'routemq'
