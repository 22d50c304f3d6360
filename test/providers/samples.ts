/** The samples: one delivery a file, under the name of the provider that posts it. */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import type { IncomingDelivery, ReadMessage } from '../../src/providers/provider.ts'

const folder = new URL('../samples/', import.meta.url)

/** The providers that have samples. */
export const sampledProviders: readonly string[] = readdirSync(folder, { withFileTypes: true })
  .filter((entry) => entry.isDirectory())
  .map((entry) => entry.name)

/** The names of a provider's samples. */
export function samplesOf(provider: string): string[] {
  const files = readdirSync(new URL(`${provider}/`, folder))
  return [...new Set(files.map((file) => file.replace(/(\.headers)?\.(json|txt)$/, '')))]
}

/** What the samples of a provider hold, by name. */
export function expectedOf(provider: string): Record<string, ReadMessage[]> {
  return JSON.parse(readFileSync(new URL(`${provider}.expected.json`, folder), 'utf8'))
}

/**
 * The delivery as a framework would hand it over: `<name>.json` is a JSON body, `<name>.txt` a form, and
 * `<name>.headers.json` holds the headers where they matter. Its `:method` and `:path` (as HTTP/2 writes
 * them) stand for other than `POST /webhook`; a GET needs no body.
 */
export function deliveryOf(provider: string, name: string): IncomingDelivery & { readonly rawBody: Buffer } {
  const at = (extension: string) => new URL(`${provider}/${name}.${extension}`, folder)
  const given = existsSync(at('headers.json')) ? JSON.parse(readFileSync(at('headers.json'), 'utf8')) : {}
  const { ':method': method = 'POST', ':path': url = '/webhook', ...headers } = given as Record<string, string>
  if (existsSync(at('json'))) {
    const rawBody = readFileSync(at('json'))
    return { method, url, headers, rawBody, body: JSON.parse(rawBody.toString('utf8')) }
  }
  if (!existsSync(at('txt'))) return { method, url, headers, rawBody: Buffer.alloc(0), body: undefined }
  const form = readFileSync(at('txt'), 'utf8').trim()
  return { method, url, headers, rawBody: Buffer.from(form), body: Object.fromEntries(new URLSearchParams(form)) }
}
