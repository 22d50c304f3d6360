/** What a provider is to this library: how its deliveries look, what they hold, and how they are signed. */

/**
 * What a message is. A `status` (sent, delivered, read) repeats the id of the message it is about;
 * an `echo` is the bot's own message coming back; a `callback` is a button, a `command` a slash command;
 * `delete` takes a message back; `system` is about the person (a changed number); an `event` is anything
 * else about the conversation.
 */
export type MessageKind =
  | 'message'
  | 'status'
  | 'reaction'
  | 'edit'
  | 'echo'
  | 'callback'
  | 'command'
  | 'delete'
  | 'system'
  | 'event'

/** One HTTP request of a provider, before anything was decided about it. */
export interface IncomingDelivery {
  readonly method: string
  /** Path and query, as the provider called them. */
  readonly url: string
  /** The public origin the provider calls (`https://bot.example`), for signatures over the whole URL. */
  readonly origin?: string | undefined
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
  /** The conversation, where ids are counted anew in each: two messages of the same id are two messages then. */
  readonly within?: unknown
  /** The person, also where the message is an echo and sender and recipient are swapped. */
  readonly prospect: unknown
  /** The bot's number, page, workspace or instance. */
  readonly device: unknown
  readonly kind: MessageKind
  /** Another name of the same person (a LID beside a phone number): the session is held under both. */
  readonly prospectAlt?: unknown
  /** The group or conversation: names the session where the body names no person. */
  readonly group?: unknown
  /**
   * For a message without an id of its own: whatever tells it from the person's next one (its text, its
   * time). A fingerprint of it stands in for the id, for as long as the handler runs and a moment longer.
   */
  readonly content?: unknown
}

/** The answer to a provider that asks whether this endpoint is ours. */
export interface HandshakeAnswer {
  readonly status: number
  readonly body: string
  /** Default `text/plain; charset=utf-8`: nothing of it is ever taken for HTML. */
  readonly contentType?: string
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
  /** How long the provider waits for the answer, in milliseconds; absent where nobody has said. */
  readonly deadlineMs?: number
  /** true: the answer's body carries the reply (TwiML, a method call), so a duplicate is given it again. */
  readonly replays?: boolean | ((delivery: IncomingDelivery) => boolean)
  /** true: what comes again under an id must be what came before; another body under it is answered 422. */
  readonly comparesPayload?: boolean
  /**
   * true: one message can arrive under two sessions that do not know of each other (WAHA's `@c.us` and
   * `@lid` twins), so the message's own key is held beside the session.
   */
  readonly twins?: boolean
  /** The methods that deliveries come by, in capitals. Default: POST alone. */
  readonly methods?: readonly string[]
  /** Is this body certainly one of this provider's? Never by a signature header alone: several share one. */
  recognises(delivery: IncomingDelivery): boolean
  /**
   * Why this delivery cannot be read, in words for its sender, who is answered 400. undefined: it can. Absent: all
   * that is recognised can.
   */
  refuses?(delivery: IncomingDelivery): string | undefined
  /** Every message of the delivery, in the order of the body. None: it is about something else. */
  read(delivery: IncomingDelivery): ReadMessage[]
  /** A copy of the body that holds only the messages at these positions. Absent: one message a delivery. */
  reduce?(body: unknown, kept: ReadonlySet<number>): unknown
  /**
   * Is the delivery signed with this secret? `rawBody` is there; `now` is the time of day in milliseconds,
   * for schemes with a time window. Constant-time. Absent: the provider signs nothing that can be checked here.
   */
  isSigned?(delivery: SignedDelivery, secret: string, now: number): boolean
  /** true: the secret is a public key, which anybody may know; it must not stand for another provider. Default false. */
  readonly hasPublicKey?: boolean
  /**
   * The answer to a request that asks whether this endpoint is ours (Meta's GET, Slack's `url_verification`,
   * Discord's PING, LINE's empty events); undefined for any other. Of a signed provider only signed ones get here,
   * but for GETs. `verifyToken`: the option of that name, where the scheme has one.
   */
  handshake?(delivery: IncomingDelivery, verifyToken: string | undefined): HandshakeAnswer | undefined
}

/** A delivery whose bytes were kept. */
export type SignedDelivery = IncomingDelivery & { readonly rawBody: Uint8Array }
