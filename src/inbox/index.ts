/** The public door of the inbox. */
export { createInbox, type Inbox, type InboxStats, type ReplayFilter } from './inbox.ts'
export type { InboxHandler, InboxMessage, InboxMessages, InboxOptions } from './options.ts'
export type { Page, Poller, PollOptions } from './poller.ts'
export type { Accepted, InboxMiddleware } from './receive.ts'
export { NewerMessageError, RetryLater } from './retry.ts'
