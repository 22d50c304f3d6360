/** What the WhatsApp gateways share: names of people and groups, LIDs, booleans as text, ids made of parts. */
import { fieldOf, firstPresent, headerOf, joinedId, listOf } from './fields.ts'
import type { MessageKind, ReadMessage, SignedDelivery } from './provider.ts'
import { equalsSecretly } from './signature.ts'

/** The person of a message, under the names that its gateway gives. */
export type Person = Pick<ReadMessage, 'prospect' | 'prospectAlt' | 'group'>

/** Where several people write: a group ends in `@g.us`, and people's stories come from `status@broadcast`. */
export function isGroup(name: unknown): boolean {
  return typeof name === 'string' && (name.endsWith('@g.us') || name.endsWith('@broadcast'))
}

/** WhatsApp names a person by phone number or by a LID, which hides the number. */
export function isLid(name: unknown): boolean {
  return typeof name === 'string' && name.endsWith('@lid')
}

/**
 * The phone number as the prospect and the LID beside it, whichever of the two came first: the same
 * person arrives under either, and the phone number is the name that other messages have too.
 */
export function personOf(name: unknown, other: unknown, group?: unknown): Person {
  const inGroup = group === undefined ? {} : { group }
  const first = firstPresent(name)
  const isTold = first !== null && typeof other === 'string' && isLid(first) !== isLid(other)
  if (!isTold || other === '') return { prospect: firstPresent(first, other), ...inGroup }
  return isLid(first)
    ? { prospect: other, prospectAlt: first, ...inGroup }
    : { prospect: first, prospectAlt: other, ...inGroup }
}

/** Forms, and some gateways' JSON, write booleans as text. */
export function isTrue(value: unknown): boolean {
  return value === true || value === 'true' || value === 1 || value === '1'
}

/** An id made of parts, the absent ones left out; null without the first. */
export function joined(first: unknown, ...others: readonly unknown[]): unknown {
  const id = firstPresent(first)
  return id === null ? null : joinedId(id, ...others.map((part) => firstPresent(part)))
}

/** What is told apart by content: texts and numbers only, so that nothing deep is ever looked into. Null: nothing is. */
export function contentOf(...values: readonly unknown[]): ReadonlyArray<string | number> | null {
  const plain = values.filter((value) => typeof value === 'string' || typeof value === 'number')
  return plain.some((value) => value !== '') ? plain : null
}

/** The bot's own message is an echo; its own reactions and edits stay what they are. */
export function kindOf(kind: MessageKind | undefined, fromMe: boolean): MessageKind {
  return kind ?? (fromMe ? 'echo' : 'message')
}

/** A copy of the body whose lists hold only the items at these positions, counted over all lists in order. */
export function reduceLists(body: unknown, names: readonly string[], kept: ReadonlySet<number>): unknown {
  const copy: Record<string, unknown> = { ...(body as object) }
  let position = 0
  for (const name of names) {
    if (listOf(body, name).length === 0) continue
    copy[name] = listOf(body, name).filter(() => kept.has(position++))
  }
  return copy
}

/** Does the body hold texts in all these fields? */
export function hasTexts(body: unknown, ...names: readonly string[]): boolean {
  return names.every((name) => {
    const value = fieldOf(body, name)
    return typeof value === 'string' && value !== ''
  })
}

/** Has the body a field of this name, whatever it holds? */
export function has(body: unknown, name: string): boolean {
  return fieldOf(body, name) !== undefined
}

/** Is the field an object (and no array)? */
export function hasObject(body: unknown, name: string): boolean {
  const value = fieldOf(body, name)
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** `Authorization: Bearer <secret>`: no signature, but whoever sends it knows the secret. */
export function hasBearer(delivery: SignedDelivery, secret: string): boolean {
  return equalsSecretly(headerOf(delivery, 'authorization') ?? '', `Bearer ${secret}`)
}
