import { createServer } from 'node:net'

/**
 * The fastest server that still answers: function 3 with as many registers as asked for, all requests of a chunk in one
 * write. Runs in a process of its own, so that it does not share the event loop of what is measured. Sends its port.
 */
const server = createServer({ noDelay: true }, (socket) => {
  let rest: Buffer = Buffer.alloc(0)
  socket.on('error', () => socket.destroy())
  socket.on('data', (chunk) => {
    const bytes = rest.length === 0 ? chunk : Buffer.concat([rest, chunk])
    const answers: Buffer[] = []
    let at = 0
    for (; bytes.length - at >= 12; at += 12) {
      const count = bytes.readUInt16BE(at + 10)
      const answer = Buffer.alloc(9 + count * 2)
      bytes.copy(answer, 0, at, at + 8)
      answer.writeUInt16BE(3 + count * 2, 4)
      answer[8] = count * 2
      for (let n = 0; n < count; n += 1) answer.writeUInt16BE(n + 1, 9 + n * 2)
      answers.push(answer)
    }
    rest = bytes.subarray(at)
    if (answers.length > 0) socket.write(answers.length === 1 ? answers[0]! : Buffer.concat(answers))
  })
})
server.listen(0, '127.0.0.1', () => {
  const address = server.address()
  process.send?.(typeof address === 'object' ? address?.port : undefined)
})
process.once('disconnect', () => process.exit())
