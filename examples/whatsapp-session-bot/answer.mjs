/** What the bot does with a message, with session-lock and without: it asks the model, replies, and writes both down. */

/** Where the bot writes down what it answered. */
const CONVERSATIONS = 'whatsapp_bot_conversations'

/** The message that a delivery of Gowa's holds; undefined where there is none to be answered. */
export function readMessage(body) {
  const { event, device_id: device, payload } = body ?? {}
  if (event !== 'message' || !payload?.body || payload.is_from_me) return undefined
  return { id: payload.id, prospect: payload.from, device, text: payload.body }
}

/**
 * @param database - a pool of mysql2
 */
export function createAnswering({ database, modelUrl, gatewayUrl }) {
  return {
    createTable: () =>
      database.query(`CREATE TABLE IF NOT EXISTS ${CONVERSATIONS} (
        id_device VARCHAR(191) NOT NULL,
        id_prospect VARCHAR(191) NOT NULL,
        id_message VARCHAR(191) NOT NULL,
        question TEXT NOT NULL,
        answer TEXT NOT NULL,
        KEY whatsapp_bot_conversations_message (id_message)
      )`),

    /** Whatever goes wrong is thrown: the delivery is answered 500 then, and comes again. */
    async answer(message, signal) {
      const { id, prospect, device, text } = message
      const { text: reply } = await post(modelUrl, message, signal)
      // From here on it is not given up any more: who is half told must not be told again.
      signal?.throwIfAborted()
      await post(`${gatewayUrl}/send/message`, { phone: prospect, message: reply, reply_message_id: id })
      await database.execute(
        `INSERT INTO ${CONVERSATIONS} (id_device, id_prospect, id_message, question, answer) VALUES (?, ?, ?, ?, ?)`,
        [device, prospect, id, text, reply],
      )
    },

    async wasAnswered({ id, device }) {
      const statement = `SELECT 1 FROM ${CONVERSATIONS} WHERE id_message = ? AND id_device = ? LIMIT 1`
      const [rows] = await database.execute(statement, [id, device])
      return rows.length > 0
    },
  }
}

async function post(url, body, signal) {
  const headers = { 'Content-Type': 'application/json' }
  const response = await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal })
  const text = await response.text()
  if (!response.ok) throw new Error(`${url} answered ${response.status}: ${text}`)
  return JSON.parse(text)
}
