/** The headers that are given to `writeHead`. */

/** By their names in lower case. They come as an object, as pairs, or as a flat array of names and values. */
export function headersIn(given: unknown): Record<string, unknown> {
  if (typeof given !== 'object' || given === null) return {}
  const headers: Record<string, unknown> = {}
  for (const [name, value] of Array.isArray(given) ? pairs(given) : Object.entries(given)) {
    const key = name.toLowerCase()
    const before = headers[key]
    // A header may stand there several times, as cookies do.
    headers[key] = before === undefined ? value : [before, value].flat()
  }
  return headers
}

function pairs(given: readonly unknown[]): Array<[string, unknown]> {
  if (given.every(Array.isArray)) return given as Array<[string, unknown]>
  return given.flatMap(
    (name, index): Array<[string, unknown]> => (index % 2 === 0 ? [[String(name), given[index + 1]]] : []),
  )
}
