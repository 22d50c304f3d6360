/** What a provider is to this library: how its deliveries look, what they hold, and how they are signed. */

/**
 * What a message is. A `status` (sent, delivered, read) repeats the id of the message it is about;
 * an `echo` is the bot's own message coming back; an `event` is about the conversation, not of it.
 */
export type MessageKind = 'message' | 'status' | 'reaction' | 'edit' | 'echo' | 'callback' | 'event'

/** One HTTP request of a provider, before anything was decided about it. */
export interface IncomingDelivery {
  readonly method: string
  /** Path and query, as the provider called them. */
  readonly url: string
  /** Names in lower case, as Node gives them. */
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** The parsed body. */
  readonly body: unknown
  /** The body's bytes as they came, where they were kept. */
  readonly rawBody?: Uint8Array | undefined
}

/**
 * One message as it stands in the body. Values are handed on as they are, so that a number where text
 * belongs is refused rather than guessed at. `null`: the body has none (`''`, `0` and `'0'` are none).
 */
export interface ReadMessage {
  /** What a redelivery keeps: `wamid…`, for a status `wamid…:delivered`. */
  readonly id: unknown
  /** The person, also where the message is an echo and sender and recipient are swapped. */
  readonly prospect: unknown
  /** The bot's number, page, workspace or instance. */
  readonly device: unknown
  readonly kind: MessageKind
}

/** The answer to a provider that asks whether this endpoint is ours. */
export interface HandshakeAnswer {
  readonly status: number
  readonly body: string
}

/**
 * One provider. Everything here is pure: no store, no clock, no network; `recognises`, `read` and
 * `reduce` take any body and never throw.
 */
export interface Provider {
  /** As it stands in options, keys and logs: `whatsapp-cloud`. */
  readonly name: string
  /** false: a delivery that was refused does not come again, so it is better to wait than to refuse. */
  readonly redelivers: boolean
  /** Is this body certainly one of this provider's? Never by a signature header: several share one. */
  recognises(delivery: IncomingDelivery): boolean
  /** Every message of the delivery, in the order of the body. None: it is about something else. */
  read(delivery: IncomingDelivery): ReadMessage[]
  /** A copy of the body that holds only the messages at these positions; whatever is no message stays. */
  reduce(body: unknown, kept: ReadonlySet<number>): unknown
  /** Is the delivery signed with this secret? `rawBody` is there. Absent: the provider signs nothing. */
  isSigned?(delivery: IncomingDelivery & { readonly rawBody: Uint8Array }, secret: string): boolean
  /** The answer to a GET that asks for the verify token. */
  handshake?(query: URLSearchParams, verifyToken: string): HandshakeAnswer
}
