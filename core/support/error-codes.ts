/**
 * Every error code of the product, in one table: what it means to a caller over HTTP, whether a delivery that failed
 * with it may be tried again, and what a person should do. `docs/reference/errors.md` lists each; a test compares them.
 */
export interface ErrorCodeFacts {
  /** HTTP status of the problem document (RFC 9457) that carries this code. */
  readonly status: number
  /** True where running the same message again may end differently; drives retries of a delivery. */
  readonly retry: boolean
  /** What to do about it, one sentence for a person. */
  readonly advice: string
}

export const ERROR_CODES = {
  // Start and configuration
  CONFIG_INVALID: {
    status: 500,
    retry: false,
    advice: 'Correct what is listed: settings in .env or the environment, or the file that is named.',
  },
  PORT_IN_USE: { status: 500, retry: false, advice: 'Stop what listens there, or set another port.' },
  ALREADY_RUNNING: { status: 500, retry: false, advice: 'Stop the other process that uses this data folder first.' },
  CLIENT_ID_IN_USE: { status: 500, retry: false, advice: 'Give this installation its own ROUTEMQ_INSTANCE.' },
  NOT_RUNNING: { status: 503, retry: false, advice: 'Start the product with `routemq --run`.' },
  RUN_FILE_UNREADABLE: {
    status: 403,
    retry: false,
    advice: 'Run the command as the user that the product runs as, or take the file away where nothing runs.',
  },
  USAGE: { status: 400, retry: false, advice: 'See `routemq --help`.' },
  SCAFFOLD_CONFLICT: { status: 409, retry: false, advice: 'Choose an empty folder or remove the named file.' },

  // Router
  ROUTER_INVALID: { status: 500, retry: false, advice: 'Correct the router file that is named.' },
  ROUTER_COMMITTED: { status: 500, retry: false, advice: 'Register routes while the router file loads, not later.' },
  ROUTE_PATTERN_INVALID: { status: 500, retry: false, advice: 'Write the pattern as the routing reference describes.' },
  ROUTE_CLASH: { status: 500, retry: false, advice: 'Make the two routes agree, or give them distinct filters.' },
  ROUTE_UNKNOWN: { status: 404, retry: false, advice: 'Check the route name with `routemq route:list`.' },
  MIDDLEWARE_UNKNOWN: {
    status: 500,
    retry: false,
    advice: 'Add a file of that name to middleware/, or mend the name.',
  },
  NEXT_CALLED_TWICE: { status: 500, retry: false, advice: 'Call next() once in each middleware.' },
  TOPIC_INVALID: { status: 400, retry: false, advice: 'Use a topic without wildcards, NUL or empty parameters.' },

  // A message and its handling
  PAYLOAD_MALFORMED: { status: 400, retry: false, advice: 'Send a payload in the format the route expects.' },
  PAYLOAD_INVALID: { status: 422, retry: false, advice: 'Correct the named fields.' },
  PAYLOAD_TOO_LARGE: { status: 413, retry: false, advice: 'Send less than MQTT_MAX_PACKET_BYTES.' },
  PROPERTIES_TOO_LARGE: { status: 413, retry: false, advice: 'Send at most 64 KiB of MQTT 5 properties.' },
  PAYLOAD_LOST: {
    status: 500,
    retry: false,
    advice: 'What was stored of it is damaged or gone: check the disk, and have the message sent again.',
  },
  UNAUTHENTICATED: { status: 401, retry: false, advice: 'Send a valid credential.' },
  FORBIDDEN: { status: 403, retry: false, advice: 'Use a credential that is allowed to do this.' },
  THROTTLED: { status: 429, retry: false, advice: 'Send less often; the details say when to try again.' },
  COMMAND_EXPIRED: { status: 410, retry: false, advice: 'Send the command again if it is still wanted.' },
  COMMAND_AGE_UNKNOWN: { status: 410, retry: false, advice: 'Send commands over MQTT 5 or with a timestamp.' },
  HANDLER_FAILED: { status: 500, retry: true, advice: 'Read the log of the worker; the handler threw.' },
  HANDLER_TIMEOUT: { status: 504, retry: true, advice: 'Raise the time limit of the route or make it do less.' },
  RESPONSE_TOPIC_REFUSED: { status: 400, retry: false, advice: 'Use a response topic under MQTT_REPLY_PREFIXES.' },
  CALL_TIMEOUT: { status: 504, retry: false, advice: 'Check that something answers on that topic.' },
  PUBLISH_OVERLOADED: { status: 503, retry: true, advice: 'Publish more slowly or raise the outbox bound.' },
  PUBLISH_REFUSED: {
    status: 502,
    retry: false,
    advice: 'Compare it with what the broker allows: size, levels of the topic, access rules.',
  },
  BROKER_UNAVAILABLE: { status: 503, retry: true, advice: 'Check the broker and the MQTT_* settings.' },
  SUBSCRIPTION_REFUSED: { status: 503, retry: false, advice: 'Allow the filter in the access rules of the broker.' },
  SHUTTING_DOWN: { status: 503, retry: true, advice: 'Wait until the process is back.' },
  WORKER_LOST: { status: 503, retry: true, advice: 'The gateway or worker went away; send the request again.' },
  WORKER_DIED: {
    status: 500,
    retry: false,
    advice: 'Mend the handler: this message ended its process each time; then `routemq dead:retry`.',
  },
  WORKER_UNKNOWN: { status: 404, retry: false, advice: 'Check the name with `routemq worker:list`.' },
  WORKER_BOOT_FAILED: { status: 500, retry: false, advice: 'Read the error that the worker printed.' },
  IDEMPOTENCY_KEY_REUSED: { status: 409, retry: false, advice: 'Use a new request_id for a different payload.' },
  REQUEST_CANCELLED: { status: 503, retry: true, advice: 'The caller went away; send the request again if wanted.' },
  INTERNAL: { status: 500, retry: true, advice: 'This is a defect; report it with the log lines around it.' },

  // Devices and Modbus
  DEVICE_UNKNOWN: { status: 404, retry: false, advice: 'Check the id with `routemq device:list`.' },
  DEVICE_INACTIVE: { status: 409, retry: false, advice: 'Activate the device first.' },
  DEVICE_INVALID: { status: 422, retry: false, advice: 'Correct the named fields of the device.' },
  DEVICE_EXISTS: { status: 409, retry: false, advice: 'Choose another device_id, or update the device.' },
  DEVICE_UNREACHABLE: { status: 504, retry: true, advice: 'Check power, cable, address and port of the device.' },
  DEVICE_TIMEOUT: { status: 504, retry: true, advice: 'Check unit id and wiring, or raise the timeout.' },
  DEVICE_BUSY: { status: 503, retry: true, advice: 'Try again after the time in Retry-After.' },
  DEVICE_FAILURE: { status: 502, retry: false, advice: 'The device reports an internal failure; inspect it.' },
  BUS_OVERLOADED: { status: 503, retry: true, advice: 'Ask for less, or raise the bound of the bus queue.' },
  BUS_CONFLICT: {
    status: 409,
    retry: false,
    advice: 'Devices of one bus share its line settings: change them together, with ?whole_bus=true or in one import.',
  },
  BUS_IN_USE: {
    status: 409,
    retry: false,
    advice: 'Stop the product for this, or read through it: device:read, device:watch and device:decode do.',
  },
  BUS_STANDBY: {
    status: 503,
    retry: true,
    advice:
      'Send it to the installation that owns the bus; the details name it. A bus whose owner died moves in seconds.',
  },
  BREAKER_OPEN: { status: 503, retry: true, advice: 'The device failed repeatedly; it is tried again by itself.' },
  POINT_EXISTS: { status: 409, retry: false, advice: 'Choose another name, or update the point.' },
  POINT_UNKNOWN: { status: 404, retry: false, advice: 'Check the points of the device.' },
  POINT_INVALID: { status: 422, retry: false, advice: 'Correct the definition of the point.' },
  POINT_TORN: { status: 422, retry: false, advice: 'Write the whole point, or name it.' },
  VALUE_OUT_OF_RANGE: { status: 422, retry: false, advice: 'Send a value inside the limits in the details.' },
  VALUE_INVALID: { status: 422, retry: false, advice: 'Send a value of the type of the register or point.' },
  ADDRESS_INVALID: { status: 422, retry: false, advice: 'Use addresses 0-65535 and a count the function allows.' },
  READ_ONLY: { status: 403, retry: false, advice: 'Write to a writable register or point.' },
  WRITE_ONLY: { status: 403, retry: false, advice: 'This point can only be written.' },
  WRITE_DISABLED: { status: 403, retry: false, advice: 'Enable writing for the device, its bus and the system.' },
  WRITE_OUTCOME_UNKNOWN: { status: 504, retry: false, advice: 'Read the value back before you send it again.' },
  WRITE_PARTIAL: { status: 502, retry: false, advice: 'See the result of each item in the details.' },
  MODBUS_ILLEGAL_FUNCTION: { status: 502, retry: false, advice: 'The device does not know this function.' },
  MODBUS_ILLEGAL_ADDRESS: { status: 502, retry: false, advice: 'The device does not have this address.' },
  MODBUS_ILLEGAL_VALUE: { status: 502, retry: false, advice: 'The device does not accept this value or count.' },
  MODBUS_ACKNOWLEDGE: { status: 202, retry: false, advice: 'The device accepted and is still working; read back.' },
  MODBUS_GATEWAY_PATH: { status: 502, retry: true, advice: 'The Modbus gateway has no path to the device.' },
  MODBUS_PROTOCOL: { status: 502, retry: true, advice: 'The device answered nonsense; check framing and unit id.' },

  // Polling, store, HTTP
  TARGET_UNKNOWN: { status: 404, retry: false, advice: 'Check the id of the polling target.' },
  TARGET_INVALID: { status: 422, retry: false, advice: 'Correct the named fields of the target.' },
  BUS_LOAD_REFUSED: { status: 409, retry: false, advice: 'Poll less often, or force the target.' },
  DATABASE_UNAVAILABLE: { status: 503, retry: true, advice: 'Check the database and the DB_* settings.' },
  HISTORY_TIMEOUT: {
    status: 504,
    retry: false,
    advice: 'Ask for less: name the device and the point, and a shorter time from..to.',
  },
  DATABASE_SCHEMA: {
    status: 500,
    retry: false,
    advice: 'See the message: the schema is not what this version expects.',
  },
  DATABASE_NOT_EMPTY: { status: 409, retry: false, advice: 'Restore into an empty database, or with --force.' },
  BACKUP_INVALID: { status: 422, retry: false, advice: 'Use another backup: this file is damaged, cut off or none.' },
  DATABASE_DRIVER_MISSING: {
    status: 500,
    retry: false,
    advice: 'Run npm install again, or use Node.js 22.13 or later.',
  },
  AUDIT_UNAVAILABLE: {
    status: 503,
    retry: true,
    advice: 'Free disk space: nothing is written that cannot be audited.',
  },
  SPOOL_LOCKED: { status: 500, retry: false, advice: 'Another process writes this spool; stop it.' },
  SPOOL_FULL: { status: 503, retry: true, advice: 'Free disk space or raise the bound of the spool.' },
  SPOOL_FAILED: { status: 503, retry: true, advice: 'Check the disk and the rights of the data folder.' },
  ROUTE_NOT_FOUND: { status: 404, retry: false, advice: 'See /docs for the paths of the sidecar.' },
  REQUEST_INVALID: { status: 422, retry: false, advice: 'Correct the named fields.' },
  REQUEST_MALFORMED: { status: 400, retry: false, advice: 'Send a well-formed HTTP request.' },
  HEADERS_TOO_LARGE: { status: 431, retry: false, advice: 'Send shorter headers.' },
  CLIENT_GONE: { status: 499, retry: false, advice: 'The caller closed the connection before the answer.' },
  METHOD_NOT_ALLOWED: { status: 405, retry: false, advice: 'Use a method that the Allow header names.' },
  REQUEST_TIMEOUT: { status: 408, retry: true, advice: 'Send the whole request within the time limit.' },
  NOT_AVAILABLE: { status: 503, retry: false, advice: 'This part is switched off here; /health says which parts run.' },
  DEAD_LETTER_BUSY: {
    status: 409,
    retry: true,
    advice: 'It is being run again: wait, and see whether it is still there.',
  },
  DEAD_LETTER_UNKNOWN: { status: 404, retry: false, advice: 'Check the id with `routemq dead:list`.' },
  JWKS_UNAVAILABLE: { status: 503, retry: true, advice: 'Check the address of the key set and the network.' },
  KEY_UNKNOWN: { status: 404, retry: false, advice: 'Check the prefix with `routemq key:list`.' },
  HOST_REFUSED: { status: 403, retry: false, advice: 'Call the sidecar by a loopback name, or set credentials.' },
  MEDIA_TYPE_REFUSED: { status: 415, retry: false, advice: 'Send application/json.' },
} as const satisfies Record<string, ErrorCodeFacts>

export type ErrorCode = keyof typeof ERROR_CODES
