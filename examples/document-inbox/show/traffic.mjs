/** What both programs get: the same documents, uploads and sign-ins. */
import { request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'

const SENDERS = 40
const MAILED = 220
const UPLOADED = 500
const SIGN_INS = 20
const SIGN_IN_EVERY_MS = 100
/** Nobody waits for longer at a sign-in. */
const SIGN_IN_PATIENCE_MS = 4000
/** People send several documents in a row. */
const SENT_AT_ONCE = 4
/** One mail in so many is sent again, and one document in so many cannot be read. */
const AGAIN = 20
const ILLEGIBLE = 90

/** Documents that another service puts into the table, and how many of them share a transaction. */
export const mailed = Array.from({ length: MAILED }, (_, index) => documentOf('mail', index, SENDERS))
const sentAgain = mailed.filter((_, index) => index % AGAIN === 0)
const half = Math.floor(MAILED / 2)
export const firstHalf = transactionsOf(mailed.slice(0, half))
export const secondHalf = transactionsOf([...mailed.slice(half), ...sentAgain])

/** Documents that all come at once; half of their senders are new. */
export const uploaded = Array.from({ length: UPLOADED }, (_, index) => documentOf('upload', index, SENDERS * 2))

function documentOf(kind, index, senders) {
  const contents = index % ILLEGIBLE === 1 ? 'illegible' : index % 3 === 0 ? 'not filled in' : 'filled in and signed'
  const sender = `customer-${Math.floor(index / SENT_AT_ONCE) % senders}@example.com`
  return { messageId: `${kind}-${index}`, sender, document: contents }
}

/** From five to twelve rows share a transaction, and so their created_at. */
function transactionsOf(documents) {
  const transactions = []
  for (let start = 0, size = 5; start < documents.length; start += size, size = size === 12 ? 5 : size + 1) {
    transactions.push(documents.slice(start, start + size))
  }
  return transactions
}

/** As the other service writes them. One statement is one transaction, unless the client has begun one. */
export async function insertIncoming(client, documents) {
  await client.query(
    'INSERT INTO incoming (message_id, sender, document) SELECT * FROM unnest($1::text[], $2::text[], $3::text[])',
    [
      documents.map(({ messageId }) => messageId),
      documents.map(({ sender }) => sender),
      documents.map(({ document }) => document),
    ],
  )
}

/** All at the same instant. Whoever is told to come again later does so. Resolves to what came of them. */
export async function uploadAll(url) {
  const counts = { taken: [], refused: 0, failed: 0 }

  async function upload(document) {
    for (;;) {
      const { isGood, status, retryAfterSeconds } = await post(`${url}/documents`, document)
      if (status !== 503 || retryAfterSeconds === undefined) {
        if (isGood) counts.taken.push(document.messageId)
        else counts.failed += 1
        return
      }
      counts.refused += 1
      // With chance in it, so that they do not all come at the same instant again.
      await sleep(Number(retryAfterSeconds) * 1000 * (1 + Math.random()))
    }
  }

  await Promise.all(uploaded.map(upload))
  return counts
}

/** One after the other in the middle of it all. Resolves to how many got no answer, or no good one, in time. */
export async function signInAll(url) {
  const all = Array.from({ length: SIGN_INS }, async (_, index) => {
    await sleep(index * SIGN_IN_EVERY_MS)
    const signal = AbortSignal.timeout(SIGN_IN_PATIENCE_MS)
    return post(`${url}/sign-in`, { email: `customer-${index}@example.com` }, signal).then(
      ({ isGood }) => isGood,
      () => false,
    )
  })
  const succeeded = (await Promise.all(all)).filter(Boolean).length
  return SIGN_INS - succeeded
}

/** Resolves to the answer's status and its Retry-After. By node:http, because 500 at once are much for `fetch`. */
function post(url, body, signal) {
  const headers = { 'Content-Type': 'application/json' }
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', headers, signal }, (response) => {
      response.on('error', reject).on('end', () => {
        const isGood = response.statusCode < 300
        resolve({ isGood, status: response.statusCode, retryAfterSeconds: response.headers['retry-after'] })
      })
      response.resume()
    })
    sent.on('error', reject).end(JSON.stringify(body))
  })
}
