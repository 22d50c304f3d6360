/** Aliases: one person under several names (a number that changed, a user id beside a number). */
import { StoreError } from '../store/store.ts'
import type { Delivery, DeliveryMessage } from './delivery.ts'
import type { Port } from './port.ts'
import { whenAborted } from './turn.ts'

/**
 * The name that a person's session goes by, whatever name a message came under. Return the prospect
 * itself where there is no other. What it throws, the claim throws.
 *
 * @example
 * createSessionLock({ alias: async (prospect) => (await contacts.find(prospect))?.id ?? prospect })
 */
export type Alias = (
  prospect: string,
  about: { readonly provider: string; readonly device: unknown },
) => string | Promise<string>

/** A delivery with every prospect under the name it goes by, where there are such names. */
export function named(delivery: Delivery, alias: Alias | undefined): Delivery | Promise<Delivery> {
  return alias ? withAliases(delivery, alias) : delivery
}

/**
 * The same for whoever claims, and has patience for so long: rejects once the signal aborts, or with a {@link StoreError}
 * when no answer would come in time any more.
 */
export function namedInTime(
  delivery: Delivery,
  alias: Alias,
  port: Port,
  { answerWithinMs, signal }: { answerWithinMs?: number | undefined; signal?: AbortSignal | undefined },
): Promise<Delivery> {
  return new Promise((resolve, reject) => {
    signal?.throwIfAborted()
    const tooLate = (): void => {
      const text = 'session-lock: the option "alias" gave no name before the provider’s deadline'
      reject(new StoreError('unreachable', text))
    }
    const timer = answerWithinMs === undefined ? undefined : port.after(answerWithinMs, tooLate)
    const stopListening = signal && whenAborted(signal, reject)
    const done = (): void => {
      timer?.cancel()
      stopListening?.()
    }
    withAliases(delivery, alias).then(resolve, reject).finally(done)
  })
}

async function withAliases(delivery: Delivery, alias: Alias): Promise<Delivery> {
  const { provider } = delivery
  const messages = await Promise.all(
    delivery.messages.map(async (message): Promise<DeliveryMessage> => {
      const { prospect, device } = message
      if (typeof prospect !== 'string' || prospect === '') return message
      return { ...message, prospect: await alias(prospect, { provider, device }) }
    }),
  )
  return { ...delivery, messages }
}
