/** What both programs are sent, and what came of it. */
import { setTimeout as sleep } from 'node:timers/promises'
import { addNotes, createTable, dropTable, TABLE } from './table.mjs'

const NOTES = 18
const AT_ONCE = 3
const ROUNDS_TOGETHER = 2
const USER = 'ana'
const NEXT = `/users/${USER}/process?count=${AT_ONCE}`
const ASKED_EVERY_MS = 200
const GIVEN_UP_AFTER_MS = 15_000

export async function makeNotes(pool) {
  await dropTable(pool)
  await createTable(pool)
  await addNotes(
    pool,
    USER,
    Array.from({ length: NOTES }, (_, index) => `What was said at meeting ${index + 1} of the year`),
  )
}

/**
 * Both nodes are asked for the next notes at the same moment, as two schedulers do, or two impatient people. Then one
 * of them is killed in the middle of its work, and the other one goes on alone, for as long as there is work that it
 * can get.
 *
 * @param patienceMs - so long it goes on asking while it gets nothing
 * @returns the ids of the notes that the killed node had in hand
 */
export async function sendTraffic({ survivor, victim, model, pool, patienceMs }) {
  for (let round = 0; round < ROUNDS_TOGETHER; round += 1) await Promise.all([survivor.post(NEXT), victim.post(NEXT)])
  const isAtWork = callsOf(model, victim.name, 2)
  // Its answer is lost with it.
  const lost = victim.post(NEXT).catch(() => undefined)
  await isAtWork
  await victim.kill()
  await lost
  const inHand = await idsOf(pool, 'processing')
  await workAlone(survivor, pool, patienceMs)
  return inHand
}

/** Resolves when the node has made so many more calls of the model. */
function callsOf(model, name, count) {
  return new Promise((resolve, reject) => {
    const limit = setTimeout(() => reject(new Error(`${name} has not called the model`)), GIVEN_UP_AFTER_MS)
    let seen = 0
    model.events.on('call', function look({ node }) {
      if (node === name) seen += 1
      if (seen < count) return
      clearTimeout(limit)
      model.events.off('call', look)
      resolve()
    })
  })
}

async function workAlone(survivor, pool, patienceMs) {
  let lastDoneAt = performance.now()
  while (performance.now() - lastDoneAt < patienceMs) {
    const { results } = await survivor.post(NEXT)
    const completed = await idsOf(pool, 'completed')
    if (completed.length === NOTES) return
    if (results.length > 0) lastDoneAt = performance.now()
    await sleep(ASKED_EVERY_MS)
  }
}

/** Counts what happened: the calls from the model's own bill, the rest from the table. */
export async function judge({ model, pool, inHand }) {
  const paid = model.calls.map(({ note }) => note)
  const again = paid.filter((note, index) => paid.indexOf(note) !== index)
  const paidTwice = [...new Set(again)].sort((one, other) => one - other)
  return {
    notes: NOTES,
    completed: (await idsOf(pool, 'completed')).length,
    stuck: await idsOf(pool, 'processing'),
    calls: paid.length,
    paidTwice,
    paidTwiceWithoutKill: paidTwice.filter((note) => !inHand.includes(note)),
    inHand,
  }
}

async function idsOf(pool, status) {
  const { rows } = await pool.query(`SELECT id FROM ${TABLE} WHERE status = $1 ORDER BY id`, [status])
  return rows.map(({ id }) => id)
}
