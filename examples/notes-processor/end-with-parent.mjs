/** For the show's processes, with `node --import`: none of them outlives the show, however that ended. */
process.once('disconnect', () => process.exit(1))
// Waiting for that is no reason to stay.
process.channel?.unref()
