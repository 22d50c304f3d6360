/**
 * The table of files, which is yours: what is to be done, who does it, and what came of it. Every write of a node
 * compares the fencing token of its lease, so that one who woke up late changes nothing.
 */

const COLUMNS = `id, name, status, server_id AS serverId, queued_at AS queuedAt, started_at AS startedAt,
  finished_at AS finishedAt, took_ms AS tookMs, size_bytes AS sizeBytes, words, sha256, error`
const MOST_LISTED = 1000
const MOST_ERROR_LETTERS = 1000

/** @param pool - of mysql2, whose `timezone` is Z: all times in the table are UTC, by the database's clock */
export function filesTable(pool, tablePrefix) {
  const table = `${tablePrefix}files`

  async function change(sql, values) {
    const [{ affectedRows }] = await pool.query(sql, values)
    return affectedRows > 0
  }

  return {
    /** Makes the table where it is missing; several nodes may do so at once. */
    async create() {
      await pool.query(
        `CREATE TABLE IF NOT EXISTS ${table} (
          id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
          name VARCHAR(255) NOT NULL,
          status ENUM('queued', 'processing', 'completed', 'failed') NOT NULL DEFAULT 'queued',
          server_id VARCHAR(255) NULL,
          fencing_token BIGINT UNSIGNED NOT NULL DEFAULT 0,
          queued_at DATETIME(3) NOT NULL,
          started_at DATETIME(3) NULL,
          finished_at DATETIME(3) NULL,
          took_ms INT UNSIGNED NULL,
          size_bytes BIGINT UNSIGNED NULL,
          words BIGINT UNSIGNED NULL,
          sha256 CHAR(64) NULL,
          error VARCHAR(${MOST_ERROR_LETTERS}) NULL,
          KEY by_status (status, id)
        ) CHARACTER SET utf8mb4`,
      )
    },

    async add(name) {
      const sql = `INSERT INTO ${table} (name, queued_at) VALUES (?, UTC_TIMESTAMP(3))`
      const [{ insertId }] = await pool.query(sql, [name])
      return insertId
    },

    /**
     * The ids of files that want work, the oldest first. Those that are being processed are among them: the lease says
     * whether whoever processes one is alive, not the row.
     */
    async wanted({ limit, after = 0 }) {
      const [rows] = await pool.query(
        `SELECT id FROM ${table} WHERE status IN ('queued', 'processing') AND id > ? ORDER BY id LIMIT ?`,
        [after, limit],
      )
      return rows.map(({ id }) => id)
    },

    /** The file, if it still wants work. */
    async read(id) {
      const [[file]] = await pool.query(
        `SELECT ${COLUMNS} FROM ${table} WHERE id = ? AND status IN ('queued', 'processing')`,
        [id],
      )
      return file
    },

    /** Writes who begins, and when. Like all below it tells whether the row was still to be had with this token. */
    begin: (id, { serverId, fencingToken }) =>
      change(
        `UPDATE ${table}
         SET status = 'processing', server_id = ?, fencing_token = ?, started_at = UTC_TIMESTAMP(3)
         WHERE id = ? AND fencing_token <= ? AND status IN ('queued', 'processing')`,
        [serverId, fencingToken, id, fencingToken],
      ),

    complete: (id, { fencingToken, tookMs, sizeBytes, words, sha256 }) =>
      change(
        `UPDATE ${table}
         SET status = 'completed', finished_at = UTC_TIMESTAMP(3), took_ms = ?, size_bytes = ?, words = ?, sha256 = ?
         WHERE id = ? AND fencing_token <= ?`,
        [tookMs, sizeBytes, words, sha256, id, fencingToken],
      ),

    fail: (id, { fencingToken, tookMs, error }) =>
      change(
        `UPDATE ${table} SET status = 'failed', finished_at = UTC_TIMESTAMP(3), took_ms = ?, error = ?
         WHERE id = ? AND fencing_token <= ?`,
        [tookMs, error.slice(0, MOST_ERROR_LETTERS), id, fencingToken],
      ),

    /** Queues a file again whose node is dead, unless somebody with a larger token has begun it since. */
    putBack: (id, { fencingToken }) =>
      change(
        `UPDATE ${table} SET status = 'queued', server_id = NULL, started_at = NULL
         WHERE id = ? AND fencing_token <= ? AND status = 'processing'`,
        [id, fencingToken],
      ),

    /** The latest files, the newest first. */
    async list() {
      const [rows] = await pool.query(`SELECT ${COLUMNS} FROM ${table} ORDER BY id DESC LIMIT ${MOST_LISTED}`)
      return rows
    },

    /** What each node did, and has in hand. */
    async stats() {
      const [rows] = await pool.query(
        `SELECT server_id AS serverId, COUNT(IF(status = 'completed', 1, NULL)) AS completed,
           COUNT(IF(status = 'failed', 1, NULL)) AS failed, COUNT(IF(status = 'processing', 1, NULL)) AS processing,
           CAST(COALESCE(SUM(size_bytes), 0) AS DOUBLE) AS bytes, CAST(ROUND(AVG(took_ms)) AS DOUBLE) AS averageMs
         FROM ${table} WHERE server_id IS NOT NULL GROUP BY server_id ORDER BY server_id`,
      )
      return rows
    },
  }
}
