/** The code in the documentation, as it stands. */
import { readdirSync, readFileSync } from 'node:fs'

/** One fenced block. */
export interface Block {
  /** `docs/inbox.md › The inbox`; from the second one under the same heading on with a number: `… 2`. */
  readonly name: string
  /** `ts`, `js`, `sh`, `text`, or nothing. */
  readonly language: string
  readonly code: string
}

const ROOT = new URL('../../', import.meta.url)

/** What users and contributors read; the examples have tests of their own. */
export const DOCUMENTS: readonly string[] = [
  ...['README.md', 'RUNBOOK.md', 'SECURITY.md', 'CONTRIBUTING.md'],
  ...readdirSync(new URL('docs', ROOT)).flatMap((file) => (file.endsWith('.md') ? [`docs/${file}`] : [])),
]

/** Reads all blocks of a document. */
export function blocksOf(document: string): Block[] {
  const blocks: Block[] = []
  const counts = new Map<string, number>()
  let heading = ''
  let open: { language: string; lines: string[] } | undefined
  for (const line of readFileSync(new URL(document, ROOT), 'utf8').split('\n')) {
    const fence = /^```(\w*)$/.exec(line)
    if (fence && open) {
      const count = (counts.get(heading) ?? 0) + 1
      counts.set(heading, count)
      const name = `${document} › ${heading}${count === 1 ? '' : ` ${count}`}`
      blocks.push({ name, language: open.language, code: open.lines.join('\n') })
      open = undefined
    } else if (fence) open = { language: fence[1] ?? '', lines: [] }
    else if (open) open.lines.push(line)
    else heading = /^#+ (.*)/.exec(line)?.[1] ?? heading
  }
  return blocks
}
