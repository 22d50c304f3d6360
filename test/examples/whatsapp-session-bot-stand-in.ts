/** Stands in for the model that the bots ask, and for the gateway that sends their replies. */
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import express from 'express'
import { expect } from 'vitest'

export interface StandIn {
  /** Where the bots find it. */
  readonly environment: Readonly<Record<string, string>>
  /** The ids of the messages that the model was asked about, in order. */
  readonly asked: readonly string[]
  /** The ids of the messages that were replied to, in order. */
  readonly replied: readonly string[]
  /** Waits until the model was asked about this message so many times. */
  readonly waitUntilAsked: (id: string, times?: number) => Promise<void>
  /** The model answers what it was asked about this message, and what it will be. */
  readonly answer: (id: string) => void
  readonly stop: () => void
}

/** Starts it. The model answers nothing until it is told to. */
export async function startStandIn(): Promise<StandIn> {
  const asked: string[] = []
  const replied: string[] = []
  const gates = new Map<string, { readonly opened: Promise<void>; readonly open: () => void }>()

  function gateOf(id: string) {
    let gate = gates.get(id)
    if (!gate) {
      let open = () => {}
      const opened = new Promise<void>((resolve) => {
        open = resolve
      })
      gate = { opened, open }
      gates.set(id, gate)
    }
    return gate
  }

  const app = express()
  app.use(express.json())
  app.post('/think', async (req, res) => {
    asked.push(req.body.id)
    await gateOf(req.body.id).opened
    res.json({ text: 'Yes.' })
  })
  app.post('/send/message', (req, res) => {
    replied.push(req.body.reply_message_id)
    res.json({ code: 'SUCCESS' })
  })
  const server = app.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    environment: { GATEWAY_URL: url, MODEL_URL: `${url}/think` },
    asked,
    replied,
    waitUntilAsked: (id, times = 1) =>
      expect.poll(() => asked.filter((one) => one === id).length, { timeout: 60_000 }).toBe(times),
    answer: (id) => gateOf(id).open(),
    stop() {
      server.close()
      server.closeAllConnections()
    },
  }
}
