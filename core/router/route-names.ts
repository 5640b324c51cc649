/**
 * Names of routes and their patterns, for `router.topic()` to check. An application adds to it:
 * `declare module 'routemq' { interface RouteNames { 'devices.control': 'devices/{device_id}/control' } }`.
 */
// biome-ignore lint/suspicious/noEmptyInterface: applications add to it by declaration merging
export interface RouteNames {}
