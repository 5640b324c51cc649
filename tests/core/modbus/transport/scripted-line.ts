import { Connection } from '../../../../core/modbus/transport/connection.js'
import type { Framing } from '../../../../core/modbus/transport/framing.js'
import { LineEcho } from '../../../../core/modbus/transport/line-echo.js'
import type { Clock } from '../../../../core/support/clock.js'

export interface ScriptedLine {
  readonly framing: Framing
  readonly clock: Clock
  readonly quietMs: number
  readonly copyMs: number
  /** @default a line of which nothing is known */
  readonly echo?: LineEcho
  /** A frame went out. */
  readonly onSent: (frame: Buffer) => void
}

/** A connection over a line on which the test says what is heard. */
export function scriptedLine({ framing, clock, quietMs, copyMs, echo = new LineEcho(), onSent }: ScriptedLine) {
  return new Connection({
    link: {
      open: async () => {},
      write: (frame) => {
        onSent(frame)
        return true
      },
      close: async () => {},
    },
    framing,
    maxInFlight: 1,
    quietMs,
    copyMs,
    characterMs: 0,
    echo,
    name: 'line',
    clock,
    onStray: () => {},
    onBroken: () => {},
  })
}
