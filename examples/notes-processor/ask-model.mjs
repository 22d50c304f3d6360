/** Where the money goes: put the call of your own model here. */

/**
 * Asks the model for a summary. The call is paid for once it has arrived there, whether or not anybody is left to
 * take the answer.
 *
 * @param signal - aborts once the lease is lost
 */
export async function askModel({ modelUrl, node, note, signal }) {
  const response = await post(`${modelUrl}/summaries`, { note: note.id, node, text: note.body }, signal)
  const answer = await response.json().catch(() => ({}))
  if (!response.ok) throw new Error(answer.error ?? `The model answered ${response.status}.`)
  return answer.summary
}

async function post(url, body, signal) {
  const headers = { 'Content-Type': 'application/json' }
  try {
    return await fetch(url, { method: 'POST', headers, body: JSON.stringify(body), signal })
  } catch (error) {
    if (signal?.aborted) throw signal.reason
    throw new Error(`The model could not be reached: ${error.cause?.message ?? error.message}.`)
  }
}
