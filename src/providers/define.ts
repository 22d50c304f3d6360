/** Providers of one's own: checked when they are defined, not when the first delivery comes. */
import { GENERIC } from './generic.ts'
import type { Provider } from './provider.ts'

/** What {@link defineProvider} takes: a {@link Provider}, of which `redelivers` may be left out. */
export type ProviderPreset = Omit<Provider, 'redelivers'> & {
  /** Default true: what was not answered 2xx comes again. */
  readonly redelivers?: boolean
}

/**
 * A provider that is not built in, for the option `provider`. It says what its deliveries look like and where
 * their ids are. One that has the name of a built-in one stands in its place.
 *
 * @throws TypeError naming the field that is missing, unknown or of the wrong type
 * @example
 * const acme = defineProvider({
 *   name: 'acme',
 *   recognises: ({ body }) => fieldAt(body, 'source') === 'acme',
 *   read: ({ body }) => [
 *     { id: fieldAt(body, 'event.id'), prospect: fieldAt(body, 'event.from'), device: fieldAt(body, 'shop'), kind: 'message' },
 *   ],
 * })
 * app.use('/webhook', sessionLock({ provider: acme }))
 */
export function defineProvider(preset: ProviderPreset): Provider {
  const problem = presetProblem(preset)
  if (problem !== undefined) throw new TypeError(`session-lock: a provider ${problem}`)
  return { ...preset, ...inherited(preset), redelivers: preset.redelivers ?? true }
}

/** What an object of a class has by its class. */
function inherited(preset: ProviderPreset): Partial<Provider> {
  const names = (Object.keys(FIELDS) as Array<keyof Provider>).filter((name) => !Object.hasOwn(preset, name))
  const given = names.map((name) => [name, preset[name]] as const).filter(([, value]) => value !== undefined)
  return Object.fromEntries(
    given.map(([name, value]) => [name, typeof value === 'function' ? value.bind(preset) : value]),
  )
}

/** What is wrong with a value that is to be a {@link ProviderPreset}, naming the field; undefined: nothing. */
export function presetProblem(value: unknown): string | undefined {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return 'must be an object'
  for (const [name, given] of Object.entries(value)) {
    const check = Object.hasOwn(FIELDS, name) ? FIELDS[name as keyof Provider] : undefined
    if (!check) return `has an unknown field "${name}"; there are: ${Object.keys(FIELDS).join(', ')}`
    if (given !== undefined && !check.takes(given)) return `has a field "${name}" that ${check.words}`
  }
  const missing = REQUIRED.find((name) => (value as Record<string, unknown>)[name] === undefined)
  return missing && `has no field "${missing}", which ${FIELDS[missing].words}`
}

interface FieldCheck {
  takes(value: unknown): boolean
  readonly words: string
}

const RESERVED: readonly unknown[] = ['auto', GENERIC]

const aName: FieldCheck = {
  takes: (value) => typeof value === 'string' && /^[a-z0-9][a-z0-9._-]{0,63}$/.test(value) && !RESERVED.includes(value),
  words: `must be 1 to 64 lower-case letters, digits, ".", "_" and "-", and not "auto" or "${GENERIC}"`,
}
const aFlag: FieldCheck = { takes: (value) => typeof value === 'boolean', words: 'must be true or false' }
const aFunction: FieldCheck = { takes: (value) => typeof value === 'function', words: 'must be a function' }
const aFlagOrFunction: FieldCheck = {
  takes: (value) => aFlag.takes(value) || aFunction.takes(value),
  words: 'must be true, false or a function',
}
const someMethods: FieldCheck = {
  takes: (value) =>
    Array.isArray(value) && value.length > 0 && value.every((method) => /^[A-Z]+$/.test(String(method))),
  words: 'must be an array of methods in capitals, like ["POST"]',
}
const aTime: FieldCheck = {
  takes: (value) => typeof value === 'number' && Number.isFinite(value) && value > 0,
  words: 'must be milliseconds, a number above 0',
}

const FIELDS: Readonly<Record<keyof Provider, FieldCheck>> = {
  name: aName,
  redelivers: aFlag,
  deadlineMs: aTime,
  replays: aFlagOrFunction,
  comparesPayload: aFlag,
  twins: aFlag,
  methods: someMethods,
  recognises: aFunction,
  refuses: aFunction,
  read: aFunction,
  reduce: aFunction,
  isSigned: aFunction,
  hasPublicKey: aFlag,
  handshake: aFunction,
}

const REQUIRED = ['name', 'recognises', 'read'] as const
