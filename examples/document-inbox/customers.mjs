/** Customers, known by their address. */

/** Both rows or none: they are one statement. It gives nothing where the address is taken. */
const CREATE = `
  WITH created AS (INSERT INTO customers (email) VALUES ($1) ON CONFLICT (email) DO NOTHING RETURNING id)
  INSERT INTO cases (customer_id) SELECT id FROM created RETURNING customer_id AS id`

const GET = 'SELECT id FROM customers WHERE email = $1'

/**
 * The id of the customer with this address, who is made (with an open case) where there is none. Any number of
 * processes may ask for one address at once: all get the same id, and nobody an error.
 *
 * Why there is no race, at READ COMMITTED, the default: where somebody else has just inserted the address and not
 * committed yet, the INSERT waits for the end of that transaction. If it is rolled back, ours inserts. If it
 * commits, ours does nothing and returns nothing; and then the SELECT finds the row, because it is a statement of its
 * own and sees what was committed before it began.
 *
 * What does not work:
 * - SELECT, then INSERT: two see nothing, both insert, one fails. Catching the error does not help within a
 *   transaction: Postgres refuses every statement after it.
 * - One statement of both (`INSERT …` in a WITH, `UNION ALL SELECT …`): its SELECT sees what was there before the
 *   INSERT waited, and finds nothing.
 * - REPEATABLE READ or SERIALIZABLE without trying again: the INSERT fails where it has waited.
 * - DO UPDATE only to have RETURNING answer: each question writes a new version of the row, and locks it.
 *
 * @param database a connection, inside a transaction or not, or a pool
 */
export async function getOrCreateCustomer(database, address) {
  const email = address.trim().toLowerCase()
  for (const statement of [CREATE, GET]) {
    const { rows } = await database.query(statement, [email])
    if (rows.length > 0) return rows[0].id
  }
  // Only where you delete customers; asking again is all it takes.
  throw new Error('the customer was deleted at this moment: try again')
}
