/** Messenger (Meta): what people write to a page. Changes of the page's feed are no messages, and pass. */
import { MESSAGING_LISTS, metaMessaging } from './meta-messaging.ts'

/** Meta unsubscribes a webhook that has failed for an hour. */
export const messenger = metaMessaging('messenger', 'page', MESSAGING_LISTS)
