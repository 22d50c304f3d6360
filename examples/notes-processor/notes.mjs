/** What can be done with notes. Whoever processes one holds its lease, and writes its status with the lease's token. */
import { createRowClaims } from 'session-lock/rows'
import { TABLE } from './table.mjs'

const MOST_SHOWN = 100
const LONGEST_ERROR = 500

/** @param summarise - the expensive call: `(note, signal) => summary` */
export function createNotes({ pool, lock, summarise }) {
  const claims = createRowClaims({ lock, name: 'notes', read: begin, handle })
  const rowsOf = async (sql, values) => (await pool.query(sql, values)).rows

  /** Marks a note as being processed; undefined where nothing is left to be done with it. */
  async function begin(id, { fencingToken }) {
    const [note] = await rowsOf(
      `UPDATE ${TABLE}
       SET status = 'processing', node = $3, attempts = attempts + 1, error = NULL, fencing_token = $2
       WHERE id = $1 AND fencing_token < $2 AND status IN ('pending', 'processing')
       RETURNING *`,
      [id, fencingToken, lock.options.nodeId],
    )
    return note
  }

  async function handle(note, lease) {
    let summary
    try {
      summary = await summarise(note, lease.signal)
    } catch (error) {
      // Without its lease the note is no longer ours: whoever takes it over writes what became of it.
      if (!lease.signal.aborted) await end(note, lease, { status: 'failed', error: messageOf(error) })
      throw error
    }
    return end(note, lease, { status: 'completed', summary })
  }

  /** Writes what became of a note, unless another process has begun it since: then that one's word counts. */
  async function end({ id }, { fencingToken }, { status, summary = null, error = null }) {
    const [note] = await rowsOf(
      `UPDATE ${TABLE} SET status = $3, summary = $4, error = $5, fencing_token = $2
       WHERE id = $1 AND fencing_token <= $2
       RETURNING *`,
      [id, fencingToken, status, textOf(summary), textOf(error)],
    )
    if (!note) throw new Error('Another process has taken this note over: what this one got for it was not written.')
    return note
  }

  /** Notes in living hands are among those found: `next` skips them, and takes over those in dead ones. */
  function next(userId, count) {
    const find = async ({ limit, after = 0 }) => {
      const found = await rowsOf(
        `SELECT id FROM ${TABLE}
         WHERE user_id = $1 AND status IN ('pending', 'processing') AND id > $2
         ORDER BY id LIMIT $3`,
        [userId, after, limit],
      )
      return found.map(({ id }) => id)
    }
    return claims.next(find, { limit: count })
  }

  async function get(id) {
    const [note] = await rowsOf(`SELECT * FROM ${TABLE} WHERE id = $1`, [id])
    return note
  }

  /** Puts a failed note back to pending; undefined where it has not failed. */
  async function retry(id) {
    const [note] = await rowsOf(
      `UPDATE ${TABLE} SET status = 'pending', error = NULL WHERE id = $1 AND status = 'failed' RETURNING *`,
      [id],
    )
    return note
  }

  /**
   * Notes that are marked as being processed and that no living lease holds. The leases are read after the notes. One
   * that was completed in between looks stuck as well: compare status and token where you use what this resolves to.
   */
  async function findStuck() {
    const marked = await rowsOf(`SELECT id, fencing_token FROM ${TABLE} WHERE status = 'processing'`)
    const living = new Set((await claims.held({ stale: false })).map(({ id }) => id))
    const stuck = marked.filter(({ id }) => !living.has(String(id)))
    return [stuck.map(({ id }) => id), stuck.map((note) => note.fencing_token)]
  }

  /** Puts stuck notes back to pending; resolves to their ids. */
  async function resetStuck() {
    // A process that hangs, rather than died, cannot renew its lease any more when it wakes up.
    await claims.releaseStale()
    const reset = await rowsOf(
      `UPDATE ${TABLE} AS notes SET status = 'pending'
       FROM unnest($1::integer[], $2::bigint[]) AS stuck (id, fencing_token)
       WHERE notes.id = stuck.id AND notes.fencing_token = stuck.fencing_token AND notes.status = 'processing'
       RETURNING notes.id`,
      await findStuck(),
    )
    return reset.map(({ id }) => id).sort((one, other) => one - other)
  }

  /** How many notes there are of each status, and those that may want somebody, then the latest. */
  async function overview() {
    const stuck = await findStuck()
    const all = `SELECT notes.*, stuck.id IS NOT NULL AND status = 'processing' AS is_stuck
       FROM ${TABLE} AS notes
       LEFT JOIN unnest($1::integer[], $2::bigint[]) AS stuck (id, fencing_token)
         ON notes.id = stuck.id AND notes.fencing_token = stuck.fencing_token`
    const [counts, notes] = await Promise.all([
      rowsOf(
        `SELECT status, count(*)::integer AS notes, (count(*) FILTER (WHERE is_stuck))::integer AS stuck
         FROM (${all}) AS notes GROUP BY status`,
        stuck,
      ),
      rowsOf(`${all} ORDER BY status IN ('failed', 'processing') DESC, id DESC LIMIT ${MOST_SHOWN}`, stuck),
    ])
    return { counts, notes }
  }

  return { next, one: claims.one, get, retry, resetStuck, overview }
}

/** Postgres takes no NUL in a text; a summary that is paid for shall not be lost to one. */
function textOf(value) {
  return value === null ? null : String(value).replaceAll('\0', '')
}

function messageOf(error) {
  return String(error?.message ?? error).slice(0, LONGEST_ERROR)
}
