/** The GET by which Meta asks, when a webhook is set up, whether this endpoint is ours. */
import type { IncomingMessage, ServerResponse } from 'node:http'
import { OptionsError } from '../engine/errors.ts'
import { whatsappCloud } from '../providers/whatsapp-cloud.ts'
import type { NextLike } from './node-exchange.ts'

/**
 * Answers the webhook verification of the WhatsApp Cloud API: 200 and the challenge where the verify
 * token is right, else 403. Other methods than GET go on to the next handler.
 *
 * @param verifyToken the one that was entered in the app's webhook settings
 * @throws OptionsError where the token is empty, which anybody could send
 * @example
 * app.get('/webhook', whatsappHandshake(process.env.VERIFY_TOKEN))
 */
export function whatsappHandshake(
  verifyToken: string | undefined,
): (request: IncomingMessage, response: ServerResponse, next?: NextLike) => void {
  if (typeof verifyToken !== 'string' || verifyToken === '') {
    throw new OptionsError('verifyToken', "must be the verify token of the app's webhook settings, and is empty")
  }
  return (request, response, next) => {
    if (request.method !== 'GET' && next) {
      next()
      return
    }
    const delivery = { method: 'GET', url: request.url ?? '/', headers: request.headers, body: undefined }
    const answer = whatsappCloud.handshake(delivery, verifyToken) ?? { status: 403, body: '' }
    // Plain text, and no guessing: the challenge is the caller's own words.
    response.writeHead(answer.status, {
      'Content-Type': 'text/plain; charset=utf-8',
      'X-Content-Type-Options': 'nosniff',
    })
    response.end(answer.body)
  }
}
