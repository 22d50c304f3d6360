/** A proxy before a database server, that loses or delays what it is told to. */
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'

/** What happens to a packet: passed on, kept back, or the connection is cut before or after it has gone on. */
export type Fate = 'pass' | 'hold' | 'cut' | 'pass-then-cut'

/** A running proxy. */
export interface StoreProxy {
  /** The server's URL, by way of the proxy. */
  readonly url: string
  /** The server that new connections go to. */
  target: string
  /** Decides about each packet from a client, by its text. */
  decide: (text: string) => Fate
  /** How late everything from a client goes on; 0 at first. */
  delayMs: number
  /** true: what comes from a client goes on in pieces of {@link PIECE} bytes, one a millisecond. false at first. */
  isTrickling: boolean
  /** Cuts all connections; new ones are welcome. */
  cutAll(): void
  /** Cuts all connections and stops. */
  close(): Promise<void>
}

const PIECE = 64

/** Starts a proxy on a free loopback port. */
export async function startStoreProxy(serverUrl: string): Promise<StoreProxy> {
  const sockets = new Set<Socket>()
  const server = createServer((client) => {
    const target = new URL(proxy.target)
    const upstream = connect(Number(target.port), target.hostname)
    const cut = () => {
      client.destroy()
      upstream.destroy()
    }
    for (const socket of [client, upstream]) {
      sockets.add(socket)
      socket.on('error', cut).on('close', cut)
    }
    // What comes when the delay is over must not overtake what came before.
    const delayed: Array<{ readonly chunk: Buffer; readonly at: number }> = []
    const passDelayed = (): void => {
      while (delayed[0] && delayed[0].at <= performance.now()) upstream.write(delayed.shift()?.chunk ?? '')
      if (delayed[0]) setTimeout(passDelayed, delayed[0].at - performance.now())
    }
    const passOn = (chunk: Buffer) => {
      const isFirst = delayed.length === 0
      if (isFirst && proxy.delayMs === 0 && !proxy.isTrickling) {
        upstream.write(chunk)
        return
      }
      const at = performance.now() + proxy.delayMs
      const pieces = proxy.isTrickling ? Math.ceil(chunk.length / PIECE) : 1
      const size = Math.ceil(chunk.length / pieces)
      for (let piece = 0; piece < pieces; piece += 1) {
        delayed.push({ chunk: chunk.subarray(piece * size, (piece + 1) * size), at: at + piece })
      }
      if (isFirst) passDelayed()
    }
    let isDeaf = false
    upstream.on('data', (chunk) => {
      if (isDeaf) cut()
      else client.write(chunk)
    })
    client.on('data', (chunk) => {
      const fate = proxy.decide(chunk.toString('latin1'))
      if (fate === 'cut') cut()
      if (fate === 'pass' || fate === 'pass-then-cut') passOn(chunk)
      // The answer proves that the server has done it; then nobody hears it.
      isDeaf = fate === 'pass-then-cut'
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the system gave no port')
  const url = new URL(serverUrl)
  url.port = String(address.port)
  const proxy: StoreProxy = {
    url: url.href,
    target: serverUrl,
    decide: () => 'pass',
    delayMs: 0,
    isTrickling: false,
    cutAll() {
      for (const socket of sockets) socket.destroy()
      sockets.clear()
    },
    async close() {
      proxy.cutAll()
      server.close()
      await once(server, 'close')
    },
  }
  return proxy
}
