/** A test process whose vitest was killed would sit in its test for ever, and keep its servers. */
process.once('disconnect', () => process.exit(1))
