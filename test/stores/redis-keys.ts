/** The Redis server of the tests, and tidying up on it. */
import { Redis } from 'ioredis'

/** Where the tests' server is; throws where it is not set, for a test that is skipped proves nothing. */
export function redisUrl(): string {
  const url = process.env['TEST_REDIS_URL']
  if (!url) throw new Error('TEST_REDIS_URL is not set: it names the Redis or Valkey server that the tests may use')
  return url
}

/** Removes the keys of these prefixes: the server is shared with other test files, and may be one that somebody keeps. */
export async function removeKeys(prefixes: ReadonlySet<string>): Promise<void> {
  const client = new Redis(redisUrl())
  for (const prefix of prefixes) {
    for await (const keys of client.scanStream({ match: `${prefix}*`, count: 1000 })) {
      if ((keys as string[]).length > 0) await client.unlink(keys as string[])
    }
  }
  client.disconnect()
}
