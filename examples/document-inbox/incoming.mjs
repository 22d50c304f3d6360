/**
 * Reads what is new in the table `incoming`, without skipping anything.
 *
 * The usual watermarks skip rows. `created_at > $1` skips those that share the time of a page's last row, and all rows
 * of one transaction share it (`now()` is when it began). `id > $1` skips as well: an id is drawn before the commit, so
 * that a row with a smaller id can appear after one with a larger id was read.
 *
 * So each row says which transaction wrote it (`written_by`), and only rows are read that are older than every
 * transaction still running: `pg_snapshot_xmin` is the oldest of those. Below it all has been decided, nothing can
 * appear any more, and (written_by, id) is a watermark that only goes forward. What it costs: a transaction that
 * stays open, of whichever program on that server, holds back what was written after it began to write.
 */
const PAGE = 100

// xid8 counts on for ever; the plain xid comes round again and cannot be compared.
const NEXT_PAGE = `
  SELECT id, written_by, message_id, sender, document FROM incoming
  WHERE (written_by, id) > ($1::xid8, $2::bigint) AND written_by < pg_snapshot_xmin(pg_current_snapshot())
  ORDER BY written_by, id LIMIT $3`

/**
 * For `inbox.poll`: the next messages, and the position after them. The inbox stores both in one transaction, and
 * leaves out the message ids that it knows.
 */
export async function fetchIncoming(database, after) {
  const [writtenBy, id] = (after ?? '0:0').split(':')
  const { rows } = await database.query(NEXT_PAGE, [writtenBy, id, PAGE])
  const last = rows.at(-1)
  return {
    messages: rows.map((row) => ({ id: row.message_id, payload: { sender: row.sender, document: row.document } })),
    next: last ? `${last.written_by}:${last.id}` : null,
  }
}
