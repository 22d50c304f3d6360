/**
 * WhaCenter. Its deliveries have no id at all, so a message is told by its content. Where the body has no
 * `device_id`, the shape is too common to be recognised: then the option `provider: 'whacenter'` says so.
 */
import { fieldOf, firstPresent } from './fields.ts'
import { contentOf, has, hasTexts, isGroup, type Person, personOf } from './gateways.ts'
import type { IncomingDelivery, Provider, ReadMessage } from './provider.ts'

/** Nobody has said that WhaCenter posts a delivery again. */
export const whacenter = {
  name: 'whacenter',
  redelivers: false,
  recognises({ body }: IncomingDelivery) {
    if (!hasTexts(body, 'device_id') || !(hasTexts(body, 'from') || hasTexts(body, 'phone'))) return false
    return has(body, 'message') && !has(body, 'id') && !has(body, 'event') && !has(body, 'payload')
  },
  read({ body }: IncomingDelivery): ReadMessage[] {
    const device = firstPresent(fieldOf(body, 'device_id'))
    const content = contentOf(
      fieldOf(body, 'message'),
      firstPresent(fieldOf(body, 'media'), fieldOf(body, 'url')),
      fieldOf(body, 'timestamp'),
    )
    return [{ id: null, ...personIn(body), device, kind: 'message', content }]
  },
} satisfies Provider

function personIn(body: unknown): Person {
  const from = firstPresent(fieldOf(body, 'from'), fieldOf(body, 'phone'))
  if (!isGroup(from)) return { prospect: from }
  return personOf(fieldOf(body, 'participant'), null, from)
}
