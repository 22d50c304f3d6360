/** What a page shows, made up. */
import { html } from '../../src/admin/html.ts'
import type { Sections } from '../../src/admin/sections.ts'

export function sectionsWith(summary: string): Sections {
  const empty = html``
  return { summary: html`${summary}`, sessions: empty, dead: empty, nodes: empty, outcomes: empty }
}
