/** Holds a session with a transaction, between two statements, until it is killed. Started with the options of its lock. */
import { createSessionLock } from '../../dist/index.js'

const lock = createSessionLock({ ...JSON.parse(process.argv[2]), logger: false })
await lock.run({ session: 'killed' }, async (lease) => {
  await lease.tx.query('SELECT 1')
  console.log('holding')
  await new Promise((resolve) => setTimeout(resolve, 600_000))
})
