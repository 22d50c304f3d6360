/** The web app's routes: orders in, a report out. `use` gives them the file. */
import express from 'express'
import { firstLineOf } from './duckdb-file.mjs'

export function createApp(use) {
  const app = express()

  app.post('/orders', express.json(), async (req, res) => {
    const { id, product, amount } = req.body ?? {}
    const isOrder = isText(id) && isText(product) && typeof amount === 'number' && amount > 0 && amount < 1e9
    if (!isOrder) {
      res.status(400).json({ error: 'An order is { "id": text, "product": text, "amount": a number above 0 }.' })
      return
    }
    // The customer chose the id: an order that is sent again counts once.
    await use(({ query }) =>
      query('INSERT INTO orders VALUES ($1, $2, $3) ON CONFLICT DO NOTHING', [id, product, amount]),
    )
    res.status(201).json({ id })
  })

  app.get('/report', async (_req, res) => {
    res.json(await use(report))
  })

  app.use((error, _req, res, _next) => {
    if (error.retryAfterMs) res.set('Retry-After', String(Math.ceil(error.retryAfterMs / 1000)))
    const status = error.retryAfterMs ? 503 : (error.status ?? 500)
    res.status(status).json({ error: firstLineOf(error) })
  })
  return app
}

const isText = (value) => typeof value === 'string' && value !== '' && value.length <= 200

async function report({ query }) {
  const products = await query(`
    SELECT product, coalesce(orders, 0)::INTEGER AS orders, coalesce(amount, 0)::DOUBLE AS amount,
      coalesce(visits, 0)::INTEGER AS visits
    FROM (SELECT product, count(*) AS orders, sum(amount) AS amount FROM orders GROUP BY product)
    FULL JOIN (SELECT product, count(*) AS visits FROM visits GROUP BY product) USING (product)
    ORDER BY product`)
  const batches = await query('SELECT id, visits FROM batches ORDER BY id')
  return { products, batches }
}
