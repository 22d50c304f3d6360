/** What a bot framework is told of an update that is not handled now. */

/**
 * An update was not handled: another one holds its session (`BUSY`), or it is in somebody's hands already
 * (`IN_FLIGHT`). Thrown so that the webhook's answer is no 2xx and the platform delivers the update again.
 *
 * @example
 * bot.catch(({ error }) => { if (!(error instanceof RefusedError)) report(error) })
 */
export class RefusedError extends Error {
  override readonly name = 'RefusedError'
  readonly code: 'BUSY' | 'IN_FLIGHT'
  /** What Express and its kind answer with. */
  readonly status: 503 | 409
  /** When it is worth delivering again. */
  readonly retryAfterMs: number

  constructor(code: 'BUSY' | 'IN_FLIGHT', retryAfterMs: number) {
    const why =
      code === 'BUSY'
        ? 'another update of this session is being handled'
        : 'this update is being handled at this moment, here or in another process'
    super(`session-lock: ${why}; answer with an error, so that it is delivered again`)
    this.code = code
    this.status = code === 'BUSY' ? 503 : 409
    this.retryAfterMs = retryAfterMs
  }
}
