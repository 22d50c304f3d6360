/** What a hand-written bot reads of a delivery: the id of its message, and whose conversation it is of. */
export function messageOf({ entry: [{ changes }] }) {
  const { messages, metadata } = changes[0].value
  return { id: messages[0].id, session: `${metadata.phone_number_id}:${messages[0].from}` }
}

/** Seven days, as long as session-lock remembers a message. */
export const RETENTION_MS = 7 * 24 * 60 * 60 * 1000
