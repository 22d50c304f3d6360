/** What an admin router is made with. */
import { OptionsError } from '../engine/errors.ts'
import { engineOf, type SessionLock } from '../engine/lock.ts'

/**
 * Whether somebody may look and act: false, null or undefined refuses with 403; a text is who it is, for the log; true
 * lets in somebody without a name; `challenge` refuses with 401 and asks for credentials in that scheme.
 */
export type Authorized = boolean | string | null | undefined | { readonly challenge: string }

/** Options of the admin router. `Source`: the framework's request. */
export interface AdminOptions<Source> {
  /** The lock that is looked into. */
  readonly lock: SessionLock
  /**
   * Asked for every request, before anything else; the page, its live stream, `/metrics` and `/health` included. There
   * is no default: a page that shows customers' numbers and releases their sessions is not open to everybody.
   *
   * @example
   * authorize: basicAuth({ ops: process.env.ADMIN_PASSWORD })
   * @example
   * authorize: (request) => (request.session.user?.isAdmin ? request.session.user.email : false)
   */
  readonly authorize: (request: Source) => Authorized | Promise<Authorized>
  /** true: nothing can be changed through it. Default false. */
  readonly readOnly?: boolean | undefined
  /** true: of prospects, devices and message ids only the last four characters are shown. Default: the lock's `maskProspects`. */
  readonly maskNumbers?: boolean | undefined
  /** How often the page is brought up to date while somebody looks at it, in milliseconds. Default 1000. */
  readonly refreshMs?: number | undefined
  /**
   * What `/metrics` answers with, as `collectMetrics` gives it. Default: metrics of its own where `prom-client` is
   * installed; false: none.
   */
  readonly metrics?: MetricsText | false | undefined
}

/** What is used of `collectMetrics`. */
export interface MetricsText {
  readonly contentType: string
  text(): Promise<string>
}

export interface ResolvedAdminOptions<Source> {
  readonly lock: SessionLock
  readonly authorize: AdminOptions<Source>['authorize']
  readonly readOnly: boolean
  readonly maskNumbers: boolean
  readonly refreshMs: number
  readonly metrics: MetricsText | false | undefined
}

const NAMES = ['lock', 'authorize', 'readOnly', 'maskNumbers', 'refreshMs', 'metrics']

/** Throws an {@link OptionsError} naming the option that is missing, unknown or impossible. */
export function resolveAdminOptions<Source>(options: AdminOptions<Source>): ResolvedAdminOptions<Source> {
  const { lock, authorize, readOnly = false, refreshMs = 1000, metrics } = options ?? {}
  const unknown = Object.keys(options ?? {}).find((name) => !NAMES.includes(name))
  if (unknown !== undefined) throw new OptionsError(unknown, `is unknown; there are: ${NAMES.join(', ')}`)
  if (!lock || !engineOf(lock)) throw new OptionsError('lock', 'takes a lock made by createSessionLock()')
  if (typeof authorize !== 'function') {
    throw new OptionsError(
      'authorize',
      'is needed: a function that says who may look, for example basicAuth({ ops: process.env.ADMIN_PASSWORD })',
    )
  }
  const { maskNumbers = lock.options.maskProspects } = options
  for (const [name, value] of Object.entries({ readOnly, maskNumbers })) {
    if (typeof value !== 'boolean') throw new OptionsError(name, 'takes true or false')
  }
  if (!Number.isInteger(refreshMs) || refreshMs < 100) {
    throw new OptionsError('refreshMs', 'takes a whole number of milliseconds, at least 100')
  }
  return { lock, authorize, readOnly, maskNumbers, refreshMs, metrics }
}
