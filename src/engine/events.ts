/** The events a lock emits, and who listens. */
import { EventEmitter } from 'node:events'
import type { StoreErrorKind } from '../store/store.ts'
import { type Loss, OptionsError } from './errors.ts'
import type { Blocker } from './in-the-way.ts'

/** What every event about a claim says. Prospects and message ids are as they came, unmasked. */
export interface ClaimEvent {
  readonly provider: string
  readonly prospect: string | null
  readonly device: string | null
  readonly messageIds: readonly string[]
  readonly owner: string
  readonly nodeId: string
}

/** What a call of the store is for. */
export type StoreCall = 'claim' | 'look' | 'renew' | 'settle' | 'enqueue'

/** Each event's name and what its listeners are given. */
export interface LockEvents {
  /** A lease was given. `waitedMs`: from the delivery's arrival. */
  acquired: ClaimEvent & { readonly fencingToken: number; readonly waitedMs: number }
  /**
   * A message was refused because it is handled already, or in somebody's hands. Of what the inbox has, handled or not,
   * `of` is `completed`: it need not come again.
   */
  duplicate: ClaimEvent & { readonly of: 'completed' | 'in_flight'; readonly waitedMs: number }
  /** A message was refused because another message holds its session: `heldBy`, where that is known. */
  busy: ClaimEvent & { readonly waitedMs: number; readonly heldBy: Blocker | null }
  /** A stale lease was taken over; comes before `acquired`. `ageMs`: since its last sign of life. */
  takeover: ClaimEvent & { readonly fromNodeId: string | null; readonly ageMs: number; readonly fencingToken: number }
  /** A lease ended and its messages are completed. */
  released: ClaimEvent & { readonly heldMs: number }
  /** A lease ended and its messages may be handled again. */
  failed: ClaimEvent & { readonly heldMs: number; readonly error: unknown }
  /** A holder lost its lease; its signal has aborted. */
  lease_lost: ClaimEvent & { readonly loss: Loss }
  /** A batch of operations was written, or could not be. `tookMs`: from the call to its answer. */
  store_call: {
    readonly call: StoreCall
    readonly items: number
    readonly tookMs: number
    readonly failed: boolean
    readonly nodeId: string
  }
  /** A call of the store failed. */
  store_error: {
    readonly during: string
    readonly kind: StoreErrorKind | 'unknown'
    readonly error: unknown
    readonly nodeId: string
  }
}

export type EventName = keyof LockEvents

const EVENT_NAMES: Readonly<Record<EventName, true>> = {
  acquired: true,
  duplicate: true,
  busy: true,
  takeover: true,
  released: true,
  failed: true,
  lease_lost: true,
  store_call: true,
  store_error: true,
}

function requireEventName(name: EventName): EventName {
  if (Object.hasOwn(EVENT_NAMES, name)) return name
  throw new OptionsError(name, `is no event; there are: ${Object.keys(EVENT_NAMES).join(', ')}`)
}

export type Listener<Name extends EventName> = (event: LockEvents[Name]) => void

/** Some listeners, by their events. */
export type Listeners = { readonly [Name in EventName]?: Listener<Name> }

/** What can be listened to: a lock. */
interface Emitter {
  on<Name extends EventName>(name: Name, listener: Listener<Name>): unknown
  off<Name extends EventName>(name: Name, listener: Listener<Name>): unknown
}

/** Adds all of them. Calling what it returns takes them off again. */
export function listenTo(emitter: Emitter, listeners: Listeners): () => void {
  // Each listener is of its own event's name.
  const all = Object.entries(listeners) as Array<[EventName, Listener<EventName>]>
  for (const [name, listener] of all) emitter.on(name, listener)
  return () => {
    for (const [name, listener] of all) emitter.off(name, listener)
  }
}

export interface Events {
  on<Name extends EventName>(name: Name, listener: Listener<Name>): void
  off<Name extends EventName>(name: Name, listener: Listener<Name>): void
  /** Does anybody listen? Else the event need not be made. */
  isHeard(name: EventName): boolean
  /** A listener that throws is reported, and stops nothing. */
  emit<Name extends EventName>(name: Name, event: LockEvents[Name]): void
}

export function createEvents(report: (error: unknown) => void): Events {
  // As many as there are admins, metrics and traces of one lock: none of them is a leak.
  const emitter = new EventEmitter().setMaxListeners(0)
  return {
    on: (name, listener) => void emitter.on(requireEventName(name), listener),
    off: (name, listener) => void emitter.off(requireEventName(name), listener),
    isHeard: (name) => emitter.listenerCount(name) > 0,
    emit(name, event) {
      for (const listener of emitter.listeners(name)) {
        try {
          ;(listener as Listener<typeof name>)(event)
        } catch (error) {
          report(error)
        }
      }
    },
  }
}
