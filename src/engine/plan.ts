/** The plan of a claim: which rows a delivery needs, and which messages each of them guards. */
import type { ClaimPart, MessageRef, RowWanted } from '../store/store.ts'
import { type Delivery, type DeliveryMessage, FINGERPRINT_RETENTION_MS } from './delivery.ts'
import { KeyError } from './errors.ts'
import { fingerprintKey, messageKey, namedSessionKey, partsOfKey, requireId, sessionKey } from './keys.ts'

/** A message of the claim. */
export interface PlannedMessage extends MessageRef {
  /** Where it stands in the delivery. */
  readonly position: number
}

/** A part of the claim, with where its messages stand in the delivery. */
export interface PlannedPart extends ClaimPart {
  readonly rows: RowWanted[]
  readonly messages: PlannedMessage[]
  /** Positions in the delivery; a message of the session without an id has one too. */
  readonly positions: number[]
  /** For people: `prospect · device`, or the message id. */
  readonly name: string
  readonly prospect: string | null
  readonly device: string | null
}

export interface Plan {
  readonly provider: string
  readonly parts: readonly PlannedPart[]
  /** How many messages the delivery holds. */
  readonly size: number
  /** Messages with nothing to key on: the handler sees them, unprotected. */
  readonly unkeyed: readonly number[]
  /** Messages that stand earlier in the same delivery already. */
  readonly repeated: readonly number[]
}

/** What of the two protections is wanted: the option `scope`. */
export type Scope = 'both' | 'message' | 'session'

/** Throws a {@link KeyError} for ids of wrong type or size. */
export function planDelivery(delivery: Delivery, scope: Scope): Plan {
  const provider = requireId('provider', delivery.provider)
  const { messages } = delivery
  if (messages.length === 1) return planLone(delivery, provider, scope)
  const parts = new Map<string, PlannedPart>()
  const seen = new Set<string>()
  const unkeyed: number[] = []
  const repeated: number[] = []
  messages.forEach((_, position) => {
    const { rows, ref } = wantedFor(delivery, provider, position, scope)
    if (rows.length === 0) unkeyed.push(position)
    else if (ref && seen.has(ref.key)) repeated.push(position)
    else {
      if (ref) seen.add(ref.key)
      const part = partWith(parts, rows, ref)
      part.positions.push(position)
      if (ref) part.messages.push(ref)
    }
  })
  return { provider, parts: [...new Set(parts.values())], size: messages.length, unkeyed, repeated }
}

/** Most deliveries hold one message, and need nothing to join it with others. */
function planLone(delivery: Delivery, provider: string, scope: Scope): Plan {
  const { rows, ref } = wantedFor(delivery, provider, 0, scope)
  if (rows.length === 0) return { provider, parts: [], size: 1, unkeyed: [0], repeated: [] }
  const part = newPart(rows, ref)
  part.positions.push(0)
  if (ref) part.messages.push(ref)
  return { provider, parts: [part], size: 1, unkeyed: [], repeated: [] }
}

/** What one message needs: the rows of its session, under every name it goes by; its own where it has no session. */
function wantedFor(
  { messages, twins = false }: Delivery,
  provider: string,
  position: number,
  scope: Scope,
): { rows: RowWanted[]; ref: PlannedMessage | undefined } {
  const message = messages[position] as DeliveryMessage
  const ids = readIds(message)
  // A status shares no session: it would queue behind slow replies.
  const rows = scope === 'message' || message.kind === 'status' ? [] : sessionRows(ids)
  const home = twins ? undefined : rows[0]?.key
  const ref = scope === 'session' ? undefined : messageRef(provider, ids, message.content, position, home)
  // What has no session, or comes under several, is held by itself.
  if (ref && home === undefined) rows.push({ key: ref.key, prospect: ids.prospect, device: ids.device })
  return { rows, ref }
}

interface Ids {
  readonly id: string | null
  readonly within: string | null
  readonly prospect: string | null
  readonly prospectAlt: string | null
  readonly group: string | null
  readonly device: string | null
  readonly session: string | null
}

function readIds(message: DeliveryMessage): Ids {
  return {
    id: presentId('messageId', message.id),
    within: presentId('within', message.within),
    prospect: presentId('prospect', message.prospect),
    prospectAlt: presentId('prospectAlt', message.prospectAlt),
    group: presentId('group', message.group),
    device: presentId('device', message.device),
    session: presentId('session', message.session),
  }
}

/** Gateways write 0, "0" and "" where they have no id. */
function presentId(field: string, value: unknown): string | null {
  if (value === undefined || value === null || value === '' || value === 0 || value === '0') return null
  return requireId(field, value)
}

/** At home in its session, or where none is given, in its own row. */
function messageRef(
  provider: string,
  ids: Ids,
  content: unknown,
  position: number,
  home: string | undefined,
): PlannedMessage | undefined {
  const { id, device } = ids
  if (id !== null) {
    const key = messageKey(provider, device, id, ids.within)
    return { key, home: home ?? key, provider, device, id, position }
  }
  if (content === undefined || content === null || content === '') return undefined
  const key = fingerprintKey(provider, device, ids.prospect ?? ids.group, content)
  const hash = partsOfKey(key)?.[2] ?? key
  const retentionMs = FINGERPRINT_RETENTION_MS
  return { key, home: home ?? key, provider, device, id: hash, retentionMs, position }
}

/** The rows of a message's session, under every name it goes by. */
function sessionRows(ids: Ids): RowWanted[] {
  const { prospect, prospectAlt, group, device, session } = ids
  if (session !== null) return [{ key: namedSessionKey(session), prospect: session, device: null }]
  const rowOf = (name: string) => ({ key: sessionKey(name, device), prospect: name, device })
  if (prospect === null) return group === null ? [] : [rowOf(group)]
  return prospectAlt === null || prospectAlt === prospect ? [rowOf(prospect)] : [rowOf(prospect), rowOf(prospectAlt)]
}

/** The part that holds these rows: one that has some of them already, two of them joined, or a new one. */
function partWith(parts: Map<string, PlannedPart>, rows: RowWanted[], ref: MessageRef | undefined): PlannedPart {
  if (!rows.some((row) => parts.has(row.key))) {
    const part = newPart(rows, ref)
    for (const row of rows) parts.set(row.key, part)
    return part
  }
  const found = new Set(rows.map((row) => parts.get(row.key)).filter((part) => part !== undefined))
  // The others join the largest: a chain of names would else be gone through once for each of them.
  const [part, ...others] = [...found].sort((a, b) => b.rows.length - a.rows.length) as [PlannedPart, ...PlannedPart[]]
  for (const other of others) {
    for (const row of other.rows) parts.set(row.key, part)
    for (const row of other.rows) part.rows.push(row)
    for (const message of other.messages) part.messages.push(message)
    for (const position of other.positions) part.positions.push(position)
  }
  for (const row of rows) {
    if (parts.get(row.key) === part) continue
    parts.set(row.key, part)
    part.rows.push(row)
  }
  return part
}

/** A part that holds these rows and no message yet; it is named after the first one, or the message. */
export function newPart(rows: RowWanted[], ref: MessageRef | undefined): PlannedPart {
  const [first] = rows
  const { prospect = null, device = null } = first ?? {}
  const person = prospect ?? ref?.id ?? ''
  return {
    rows,
    messages: [],
    positions: [],
    name: device === null ? person : `${person} · ${device}`,
    prospect,
    device,
  }
}

/** What names one session or one message, as `lock.run` and `lock.release` take it. */
export interface RunKey {
  /** Deduplicates: a completed message id is not handled again. */
  readonly messageId?: string | undefined
  /** Who writes. With `device` it names the session. */
  readonly prospect?: string | undefined
  /** To which of the bot's numbers, pages or instances. */
  readonly device?: string | undefined
  /** A session of your own naming, in place of prospect and device. */
  readonly session?: string | undefined
  /** Whose message id it is: ids of two providers never meet. Default `generic`. */
  readonly provider?: string | undefined
}

/** Throws a {@link KeyError} where nothing names a session or a message. */
export function deliveryOf(key: RunKey): Delivery {
  const { messageId, prospect, device, session, provider = 'generic', ...unknown } = key
  for (const name of Object.keys(unknown))
    throw new KeyError(name, 'is unknown; a key takes messageId, prospect, device, session, provider')
  return { provider, messages: [{ id: messageId, prospect, device, session }] }
}
