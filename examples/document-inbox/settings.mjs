/** What the programs are told by environment variables. README.md lists them. */

/** Ends the process with a sentence that names the first variable that is missing. */
export function requireSettings(...names) {
  const missing = names.find((name) => !process.env[name])
  if (missing === undefined) return
  console.error(`${missing} is not set: see README.md for what it is`)
  process.exit(1)
}

/** A whole number, or `otherwise` where the variable is not set. */
export function numberSetting(name, otherwise) {
  const value = Number(process.env[name] || otherwise)
  if (Number.isSafeInteger(value) && value >= 0) return value
  console.error(`${name} takes a whole number`)
  process.exit(1)
}
