/** A model whose calls stay open until the test answers them. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { json } from 'node:stream/consumers'

/** One call, which is paid for. */
export interface ModelCall {
  readonly note: number
  readonly node: string
  readonly answer: (summary: string) => void
  readonly refuse: (error: string) => void
}

export interface HeldModel {
  readonly url: string
  /** All calls so far, in order. */
  readonly calls: readonly ModelCall[]
  /** The first call that no earlier one of these was given; also one that came before. */
  readonly nextCall: () => Promise<ModelCall>
  readonly close: () => void
}

export async function startHeldModel(): Promise<HeldModel> {
  const calls: ModelCall[] = []
  const waiting: Array<(call: ModelCall) => void> = []
  let given = 0

  async function take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { note, node } = (await json(request)) as { note: number; node: string }
    const call: ModelCall = {
      note,
      node,
      answer: (summary) => end(response, 200, { summary }),
      refuse: (error) => end(response, 503, { error }),
    }
    calls.push(call)
    const taker = waiting.shift()
    if (!taker) return
    given += 1
    taker(call)
  }

  const server = createServer((request, response) => void take(request, response))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    calls,
    nextCall() {
      const call = calls[given]
      if (!call) return new Promise((resolve) => waiting.push(resolve))
      given += 1
      return Promise.resolve(call)
    },
    close() {
      server.close()
      server.closeAllConnections()
    },
  }
}

function end(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json' }).end(JSON.stringify(body))
}
