/** The plan of a claim: which rows a delivery needs, and which messages each of them guards. */
import type { ClaimPart, MessageRef, RowWanted } from '../store/store.ts'
import type { Delivery, DeliveryMessage } from './delivery.ts'
import { KeyError } from './errors.ts'
import { messageKey, namedSessionKey, requireId, sessionKey } from './keys.ts'

/** A part of the claim, with where its messages stand in the delivery. */
export interface PlannedPart extends ClaimPart {
  readonly rows: readonly RowWanted[]
  readonly messages: MessageRef[]
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
  /** Position in the delivery of each message, by message key. */
  readonly positionOf: ReadonlyMap<string, number>
  /** Messages with nothing to key on: the handler sees them, unprotected. */
  readonly unkeyed: readonly number[]
  /** Messages that stand earlier in the same delivery already. */
  readonly repeated: readonly number[]
}

/** Throws a {@link KeyError} for ids of wrong type or size. */
export function planDelivery(delivery: Delivery, scope: 'both' | 'message' | 'session'): Plan {
  const provider = requireId('provider', delivery.provider)
  const parts = new Map<string, PlannedPart>()
  const positionOf = new Map<string, number>()
  const unkeyed: number[] = []
  const repeated: number[] = []
  delivery.messages.forEach((message, position) => {
    const ids = readIds(message)
    const ref = messageRef(provider, ids, scope)
    const row = sessionRow(message, ids, scope) ?? (ref && { key: ref.key, prospect: ids.prospect, device: ids.device })
    if (!row) unkeyed.push(position)
    else if (ref && positionOf.has(ref.key)) repeated.push(position)
    else {
      if (ref) positionOf.set(ref.key, position)
      const part = parts.get(row.key) ?? addPart(parts, row, ids)
      part.positions.push(position)
      if (ref) part.messages.push(ref)
    }
  })
  return { provider, parts: [...parts.values()], positionOf, unkeyed, repeated }
}

interface Ids {
  readonly id: string | null
  readonly prospect: string | null
  readonly device: string | null
  readonly session: string | null
}

function readIds(message: DeliveryMessage): Ids {
  return {
    id: presentId('messageId', message.id),
    prospect: presentId('prospect', message.prospect),
    device: presentId('device', message.device),
    session: presentId('session', message.session),
  }
}

/** Gateways write 0, "0" and "" where they have no id. */
function presentId(field: string, value: unknown): string | null {
  if (value === undefined || value === null || value === '' || value === 0 || value === '0') return null
  return requireId(field, value)
}

function messageRef(provider: string, ids: Ids, scope: string): MessageRef | undefined {
  if (ids.id === null || scope === 'session') return undefined
  return { key: messageKey(provider, ids.device, ids.id), provider, device: ids.device, id: ids.id }
}

/** A status shares no session: it would queue behind slow replies. */
function sessionRow(message: DeliveryMessage, ids: Ids, scope: string): RowWanted | undefined {
  if (scope === 'message' || message.kind === 'status') return undefined
  if (ids.session !== null) return { key: namedSessionKey(ids.session), prospect: ids.session, device: null }
  if (ids.prospect === null) return undefined
  return { key: sessionKey(ids.prospect, ids.device), prospect: ids.prospect, device: ids.device }
}

function addPart(parts: Map<string, PlannedPart>, row: RowWanted, ids: Ids): PlannedPart {
  const person = row.prospect ?? ids.id ?? row.key
  const part: PlannedPart = {
    rows: [row],
    messages: [],
    positions: [],
    name: row.device === null ? person : `${person} · ${row.device}`,
    prospect: row.prospect,
    device: row.device,
  }
  parts.set(row.key, part)
  return part
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
