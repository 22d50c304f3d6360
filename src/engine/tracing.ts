/** Where a tracer hooks in. Without one nothing of this is called. */
import type { DeliveryOutcome, Hold } from './delivery.ts'

export interface Tracing {
  /** Around a claim, from its arrival to its outcome. What it resolves to is given on. */
  claim(provider: string, run: () => Promise<DeliveryOutcome>): Promise<DeliveryOutcome>
  /** Around a handler of the inbox, which claims nothing: a hold to be used in place of this one. */
  hold(provider: string, hold: Hold): Hold
}
