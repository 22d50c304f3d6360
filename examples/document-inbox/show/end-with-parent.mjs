/** Loaded before a program of the show: ends it when the show is gone, however that came about. */
process.once('disconnect', () => process.exit(1))
// Else the program would stay for the sake of it.
process.channel?.unref()
