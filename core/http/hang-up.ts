import type { FastifyReply, FastifyRequest } from 'fastify'

/**
 * Ends the connection with the answer: a stranger that kept it could keep a thousand, and with them everybody else out.
 * A body that is still coming is read to its end first, else the peer would lose the answer with the connection.
 */
export function hangUp({ headers, raw }: FastifyRequest, reply: FastifyReply): void {
  const hasBody = headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0
  if (hasBody) raw.once('end', () => raw.socket.destroySoon())
  else reply.header('connection', 'close')
}
