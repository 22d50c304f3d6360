/** Aliases: one person under several names (a number that changed, a user id beside a number). */
import type { Delivery, DeliveryMessage } from './delivery.ts'

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

/** The delivery with every prospect under the name it goes by. */
export async function withAliases(delivery: Delivery, alias: Alias): Promise<Delivery> {
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
