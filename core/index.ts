/** What applications import as `routemq`. Everything else is internal. */

// `export *`: an interface that is exported by name cannot be added to from outside.
export type * from './database/app-tables.js'
export type { App, AppOptions, HttpExtension, PlantDefinition } from './kernel/create-app.js'
export { createApp, defineDevices } from './kernel/create-app.js'
export type { DeviceInput, DeviceRecord, TargetInput, TargetRecord } from './modbus/device-record.js'
export type {
  Actor,
  BlockReading,
  FieldPort,
  FieldRequest,
  FieldResponse,
  FieldValue,
  PointReading,
  Quality,
  RegisterType,
  WriteItem,
  WriteOutcome,
  WriteResult,
} from './modbus/field.js'
export type { PointDefinition } from './modbus/point.js'
export type { InboundMessage, MessageProperties, PublishOptions } from './mqtt/message.js'
export type { Logger } from './observability/logger.js'
export type {
  CallOptions,
  Context,
  ErrorHandler,
  Handler,
  MessageFacts,
  Middleware,
  MiddlewareFactory,
  Params,
} from './router/context.js'
export type { Inject, Services } from './router/controllers.js'
export { type ApiKeyOptions, apiKeyAuth } from './router/middleware/api-key-auth.js'
export { type Identity, identityOf } from './router/middleware/identity.js'
export { type JwtOptions, jwtAuth } from './router/middleware/jwt-auth.js'
export { type LogOptions, logMessages } from './router/middleware/log.js'
export { idempotent, timeout, validate } from './router/middleware/marks.js'
export { type ThrottleOptions, throttle } from './router/middleware/throttle.js'
export { type TopicRules, topicRules } from './router/middleware/topic-rules.js'
export type { Route } from './router/route.js'
export type * from './router/route-names.js'
export type { GroupOptions, RouteOptions } from './router/route-options.js'
export { type RouteGroup, type RouteRef, Router } from './router/router.js'
export { topicPrefix } from './router/topic-prefix.js'
export type { ErrorCode } from './support/error-codes.js'
export { RouteMQError } from './support/errors.js'
