import { defineConfig } from 'vitest/config'

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/servers/setup.ts'],
    setupFiles: ['test/processes/end-with-parent.ts'],
    pool: 'forks',
    // Tests start servers and processes of their own, and some measure time: more files at once would only jostle.
    maxWorkers: 2,
    testTimeout: 30_000,
    // What is polled for comes: a second is too little on a machine that has much else to do.
    expect: { poll: { timeout: 10_000 } },
    hookTimeout: 60_000,
    teardownTimeout: 30_000,
  },
})
