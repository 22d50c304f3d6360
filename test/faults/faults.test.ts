/** A short run of the fault bench on each store; `npm run faults` makes long ones. */
import { execFile } from 'node:child_process'
import { randomInt } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'

const main = fileURLToPath(new URL('main.mjs', import.meta.url))

test.each(['sqlite', 'mariadb', 'postgres', 'redis', 'redis-cluster'])(
  '%s: nodes are killed and stopped, the store too, and no promise is broken',
  async (store) => {
    const seed = String(process.env['SEED'] ?? randomInt(2 ** 31))
    const output = await new Promise<string>((resolve) => {
      execFile(process.execPath, [main, '--minutes', '0.15', '--store', store, '--seed', seed], (_error, ...texts) => {
        resolve(texts.join(''))
      })
    })
    console.info(output)
    expect(output).toMatch(new RegExp(`^${store}, 0.15 min \\(seed ${seed}\\): [1-9]`))
    expect(output).toMatch(/; [1-9]\d* kills/)
    expect(output).not.toContain('VIOLATION')
  },
  180_000,
)
