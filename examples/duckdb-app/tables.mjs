/** What is in the file: orders by the web app, visits by the pipeline, and which batches of them are loaded. */

export async function makeTables({ query }) {
  await query('CREATE TABLE IF NOT EXISTS orders (id VARCHAR PRIMARY KEY, product VARCHAR, amount DECIMAL(12, 2))')
  await query('CREATE TABLE IF NOT EXISTS visits (batch VARCHAR, product VARCHAR, seconds INTEGER)')
  await query('CREATE TABLE IF NOT EXISTS batches (id VARCHAR PRIMARY KEY, visits INTEGER)')
}
