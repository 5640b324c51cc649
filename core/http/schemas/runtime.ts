import { z } from 'zod'
import { isoTime } from './fields.js'

const serviceState = z.enum(['ok', 'warning', 'error', 'disconnected', 'disabled'])

export const healthSchema = z
  .object({
    status: z.enum(['ok', 'degraded']),
    mode: z.enum(['demo', 'normal']),
    timestamp: isoTime,
    version: z.string(),
    uptime: z.number().describe('Seconds since the start'),
    services: z.object({
      database: serviceState,
      mqtt: serviceState,
      modbus: serviceState,
      poller: serviceState,
      workers: serviceState,
    }),
    details: z.record(z.string(), z.unknown()),
  })
  .meta({ id: 'Health' })

export const readySchema = z
  .object({ ready: z.boolean(), checks: z.record(z.string(), z.string()) })
  .meta({ id: 'Ready' })

const counts = z.record(z.string(), z.number())

export const metricsSchema = z
  .object({
    modbus: z.object({
      total_requests: z.number(),
      successful_requests: z.number(),
      failed_requests: z.number(),
      success_rate_percent: z.number(),
      average_latency_ms: z.number(),
      requests_by_type: counts,
      errors_by_type: counts,
    }),
    cache: z.object({
      hits: z.number(),
      misses: z.number(),
      sets: z.number(),
      evictions: z.number(),
      hit_rate_percent: z.number(),
    }),
    polling: z.object({
      total_cycles: z.number(),
      successful_cycles: z.number(),
      failed_cycles: z.number(),
      total_targets_polled: z.number(),
      total_targets_success: z.number(),
      total_targets_failed: z.number(),
      success_rate_percent: z.number(),
      average_cycle_duration_ms: z.number(),
      last_cycle_time: isoTime.nullable(),
      skipped_slots: z.number().describe('Passed unused: the one before had not ended, or the process could not run'),
      average_lateness_ms: z.number(),
      p99_lateness_ms: z.number().describe('99 of 100 slots began no later'),
      max_lateness_ms: z.number(),
      published_messages: z.number(),
      publish_failures: z.number(),
      sink_failures: z.number(),
    }),
  })
  .meta({ id: 'Metrics' })

export const routeViewSchema = z
  .looseObject({
    name: z.string().nullable(),
    topic: z.string(),
    filter: z.string(),
    qos: z.number().int(),
    shared: z.boolean(),
  })
  .meta({ id: 'Route' })

export const workerViewSchema = z
  .looseObject({
    name: z.string(),
    pid: z.number().int().nullable(),
    state: z.string(),
    restarts: z.number().int(),
  })
  .meta({ id: 'Worker' })

export const deadLetterSchema = z
  .looseObject({
    id: z.string(),
    route: z.string(),
    topic: z.string(),
    error: z.looseObject({ code: z.string(), message: z.string() }),
    attempts: z.number().int(),
    failed_at: isoTime,
    payload: z.string().optional().describe('Base64; only where one letter is shown'),
  })
  .meta({ id: 'DeadLetter' })

export const keySchema = z
  .object({
    prefix: z.string(),
    name: z.string(),
    scope: z.enum(['read', 'write', 'admin']),
    created_at: isoTime,
    expires_at: isoTime.nullable(),
    revoked_at: isoTime.nullable(),
  })
  .meta({ id: 'ApiKey' })
