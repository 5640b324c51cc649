import 'reflect-metadata'
import { Module } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import { EventPattern, Payload, Transport } from '@nestjs/microservices'
import { DEVICE, topicOf } from './message.js'

/** NestJS's MQTT transport with one route. Its decorators are called by hand: they are functions. */
export async function openNest(name: string, url: string, qos: 0 | 1, handled: () => void): Promise<void> {
  class Telemetry {
    take(payload: { readonly device_id: number }): void {
      if (payload.device_id === DEVICE) handled()
    }
  }
  const method = Object.getOwnPropertyDescriptor(Telemetry.prototype, 'take')!
  Payload()(Telemetry.prototype, 'take', 0)
  EventPattern(topicOf(name))(Telemetry.prototype, 'take', method)
  const { Controller } = await import('@nestjs/common')
  Controller()(Telemetry)
  class Application {}
  Module({ controllers: [Telemetry] })(Application)
  const app = await NestFactory.createMicroservice(Application, {
    transport: Transport.MQTT,
    options: { url, subscribeOptions: { qos }, clientId: `bench-${name}-${process.pid}` },
    logger: ['error', 'fatal'],
  })
  await app.listen()
  // `listen` does not wait for the broker's answer to its subscriptions.
  await new Promise((resolve) => setTimeout(resolve, 500))
}
