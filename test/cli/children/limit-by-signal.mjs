/** Preloaded into the program: its time is over when SIGUSR2 comes, if it is still limited then. */
const LIMIT_MS = 9500
const { setTimeout: start, clearTimeout: stop } = globalThis
let limit
let isOver = () => {}

globalThis.setTimeout = Object.assign((call, ms, ...values) => {
  const timer = start(call, ms, ...values)
  if (ms === LIMIT_MS) [limit, isOver] = [timer, call]
  return timer
}, start)
globalThis.clearTimeout = (timer) => {
  if (timer === limit) isOver = () => {}
  stop(timer)
}
process.on('SIGUSR2', () => {
  isOver()
  process.stderr.write('over\n')
})
