/** Looking at a lock, and stepping in, over HTTP. */
export { basicAuth } from './authorize.ts'
export { type AdminRouter, adminRouter } from './express.ts'
export { type AdminFetch, type AdminFetchOptions, adminFetch } from './fetch.ts'
export type { ShownMessage, ShownSession } from './masking.ts'
export type { AdminOptions, Authorized, MetricsText } from './options.ts'
