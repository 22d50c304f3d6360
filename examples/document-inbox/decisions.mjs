/** Decisions about documents, and the case that they add up to. */

/** Three of a kind decide a case, and a decided one stays decided. */
const ENOUGH = 3

/**
 * Writes down the decision about one document, and takes the customer's case on by it.
 *
 * The next state follows from the one that was read, so nobody may write between the reading and the writing. FOR
 * UPDATE makes who comes second wait until this transaction has ended, and then read what it has left. Without it
 * both read the same, and the later one writes over what the first one did.
 *
 * @param transaction a connection inside a transaction; outside of one the lock would be gone with its statement
 */
export async function decide(transaction, { messageId, customerId, decision }) {
  const { rows } = await transaction.query(
    'SELECT state, accepted, refused FROM cases WHERE customer_id = $1 FOR UPDATE',
    [customerId],
  )
  const { state, accepted, refused } = nextCase(rows[0], decision)
  await transaction.query('UPDATE cases SET state = $2, accepted = $3, refused = $4 WHERE customer_id = $1', [
    customerId,
    state,
    accepted,
    refused,
  ])
  await transaction.query('INSERT INTO documents (message_id, customer_id, decision) VALUES ($1, $2, $3)', [
    messageId,
    customerId,
    decision,
  ])
}

/** What a case becomes by one more decision: `accepted` or `refused`. */
export function nextCase(found, decision) {
  const next = { ...found, [decision]: found[decision] + 1 }
  if (next.state === 'open' && next[decision] >= ENOUGH) next.state = decision
  return next
}
