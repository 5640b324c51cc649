import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import { type AddressInfo, connect } from 'node:net'

/** MQTT over WebSocket in front of a TCP broker (RFC 6455, binary frames only): enough of a server for a test. */
export async function startWebSocketBridge(target: number): Promise<{ url: string; close(): Promise<void> }> {
  const server = createServer()
  server.on('upgrade', (request, socket) => {
    const accept = createHash('sha1')
      .update(`${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
      .digest('base64')
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: ${accept}\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n`,
    )
    const broker = connect(target, '127.0.0.1')
    broker.on('data', (data: Buffer) => {
      const head = data.length < 126 ? Buffer.from([0x82, data.length]) : Buffer.alloc(10)
      if (data.length >= 126) {
        head[0] = 0x82
        head[1] = 127
        head.writeBigUInt64BE(BigInt(data.length), 2)
      }
      socket.write(Buffer.concat([head, data]))
    })
    let rest = Buffer.alloc(0)
    socket.on('data', (data: Buffer) => {
      rest = Buffer.concat([rest, data])
      for (let frame = readFrame(rest); frame !== undefined; frame = readFrame(rest)) {
        rest = rest.subarray(frame.size)
        if (frame.opcode === 8) broker.end()
        else if (frame.opcode <= 2) broker.write(frame.payload)
      }
    })
    const end = () => {
      socket.destroy()
      broker.destroy()
    }
    for (const side of [socket, broker]) {
      side.on('error', end)
      side.on('close', end)
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `ws://127.0.0.1:${(server.address() as AddressInfo).port}/mqtt`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

/** One masked client frame, or undefined while it is not whole. */
function readFrame(bytes: Buffer): { opcode: number; payload: Buffer; size: number } | undefined {
  if (bytes.length < 6) return undefined
  let length = bytes[1]! & 0x7f
  let at = 2
  if (length === 126) {
    if (bytes.length < 8) return undefined
    length = bytes.readUInt16BE(2)
    at = 4
  } else if (length === 127) {
    if (bytes.length < 14) return undefined
    length = Number(bytes.readBigUInt64BE(2))
    at = 10
  }
  const size = at + 4 + length
  if (bytes.length < size) return undefined
  const mask = bytes.subarray(at, at + 4)
  const payload = Buffer.from(bytes.subarray(at + 4, size))
  for (let i = 0; i < payload.length; i += 1) payload[i]! ^= mask[i % 4]!
  return { opcode: bytes[0]! & 0x0f, payload, size }
}
