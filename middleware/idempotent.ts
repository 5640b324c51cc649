/** `idempotent`: a repeated message is answered from the outcome of the first and not run again. */
export { idempotent as default } from 'routemq'
