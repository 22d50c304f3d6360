/** The lock and the inbox: the same for the web part, which stores documents, and the workers, which handle them. */
import { createSessionLock } from 'session-lock'
import { createInbox } from 'session-lock/inbox'
import { getOrCreateCustomer } from './customers.mjs'
import { decide } from './decisions.mjs'
import { readDocument } from './read-document.mjs'
import { numberSetting } from './settings.mjs'

/**
 * Where documents come from, as far as their ids go: one that was mailed and is uploaded as well under the same id is
 * handled once. Give uploads a name of their own where their ids have nothing to do with those of mails.
 */
export const SOURCE = 'documents'

/** How many documents one worker handles at once. Each has a connection for as long. */
const concurrency = numberSetting('CONCURRENCY', 5)

export function openLock() {
  return createSessionLock({
    store: process.env.DATABASE_URL,
    // What the handler writes through lease.tx, and the mark that the document is handled, are one commit.
    strategy: 'transaction',
    maxTransactions: concurrency,
    // After this the work of a process that has died is due again.
    staleAfterMs: numberSetting('STALE_AFTER_MS', 30_000),
    provider: SOURCE,
    key: ({ body }) => (isDocument(body) ? { messageId: body.messageId } : undefined),
  })
}

export function openInbox(lock) {
  return createInbox({
    lock,
    handler: handleDocument,
    concurrency,
    maxAttempts: numberSetting('MAX_ATTEMPTS', 8),
    retryAfterMs: numberSetting('RETRY_AFTER_MS', 1000),
    maxInFlight: numberSetting('MAX_IN_FLIGHT', 100),
    redact: ({ sender, document }) => ({ sender, document }),
  })
}

/**
 * Handles one document. Documents are no conversation, so they name no prospect, and several of one customer are
 * handled side by side. Give `prospect: sender` in the key (and in incoming.mjs) where they must come one by one.
 */
async function handleDocument([message], lease) {
  const { sender, document } = message.payload
  console.log(`reading document ${message.id}, attempt ${message.attempt}`)
  // The slow part comes before the first write: until then the transaction has locked nothing that others wait for.
  const decision = await readDocument(document, lease.signal)
  const customerId = await getOrCreateCustomer(lease.tx, sender)
  await decide(lease.tx, { messageId: message.id, customerId, decision })
}

/** What an upload has to hold: three texts, of which the id is as long as a message id may be. */
function isDocument(body) {
  const fields = [body?.messageId, body?.sender, body?.document]
  return fields.every((field) => typeof field === 'string' && field !== '') && Buffer.byteLength(body.messageId) <= 512
}
