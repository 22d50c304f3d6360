/** The parts of the page that change while somebody looks. */
import { formatDuration } from '../engine/duration.ts'
import type { QueueDepth } from '../store/queue.ts'
import { barChart } from './chart.ts'
import { type Html, html } from './html.ts'
import type { ShownMessage, ShownSession } from './masking.ts'
import { OUTCOMES, type Outcome, type Recorder } from './recorder.ts'
import type { ShownNode, View } from './view.ts'

/** What a section needs to know beside the moment it shows. */
export interface PageContext {
  /** Where the admin is mounted. */
  readonly base: string
  readonly readOnly: boolean
  /** Names are masked, and so name nobody. */
  readonly masked: boolean
  readonly nodeId: string
  readonly recorder: Recorder
  readonly counts: () => { readonly waiting: number; readonly holding: number }
}

/** By the ids of their elements. */
export type Sections = Readonly<Record<'summary' | 'sessions' | 'dead' | 'nodes' | 'outcomes', Html>>

export function sectionsOf(view: View, context: PageContext): Sections {
  return {
    summary: summary(view, context),
    sessions: sessions(view, context),
    dead: dead(view, context),
    nodes: nodes(view),
    outcomes: outcomes(context),
  }
}

function summary({ stats }: View, { counts }: PageContext): Html {
  const { messages, queue } = stats
  return html`<ul class="cards">
${card('held now', stats.sessions)}
${card('stale', stats.staleSessions, stats.staleSessions > 0)}
${card('waiting here', counts().waiting)}
${card('completed', messages.completed)}
${card('failed', messages.failed)}
${card('dead', messages.dead, messages.dead > 0)}
${queue !== null && card('in the inbox', queue.messages, queue.stopped > 0, inboxNote(queue))}
</ul>`
}

function inboxNote({ oldestMs, stopped }: QueueDepth): string {
  const oldest = oldestMs === null ? '' : `oldest ${formatDuration(oldestMs)}`
  const halted = stopped > 0 ? `${stopped} stopped` : ''
  return [oldest, halted].filter((part) => part !== '').join(', ')
}

function card(name: string, count: number, isBad = false, note = ''): Html {
  return html`<li class="${isBad ? 'card bad' : 'card'}"><strong>${count}</strong> <span>${name}</span>${note !== '' && html` <small>${note}</small>`}</li>`
}

function sessions({ now, stats, sessions: rows }: View, context: PageContext): Html {
  const left = stats.sessions - rows.length
  if (rows.length === 0) return html`<p class="empty">No session is held.</p>`
  return html`${stats.staleSessions > 0 && !context.readOnly && releaseAll(stats.staleSessions)}
<div class="scroll"><table>
<caption class="hidden">Sessions held now, stale ones first, then those held longest</caption>
<thead><tr><th scope="col">Session</th><th scope="col">Device</th><th scope="col">Messages</th><th scope="col">Node</th><th scope="col" class="number">Held for</th><th scope="col">Silent, toward stale</th><th scope="col">State</th>${!context.readOnly && html`<th scope="col">Act</th>`}</tr></thead>
<tbody>${rows.map((row) => sessionRow(row, now, context))}</tbody>
</table></div>
${left > 0 && html`<p>… and ${left} more. The ones that were held longest are shown; look for others by name.</p>`}`
}

function releaseAll(count: number): Html {
  return html`<p><button type="button" id="release-stale" data-act="release" data-stale="true">Release ${count} stale</button></p>`
}

function sessionRow(row: ShownSession, now: number, { base, readOnly, masked }: PageContext): Html {
  const { name, device, messageIds, nodeId, stale, lockedAt, renewedAt, expiresAt } = row
  const which = masked ? `session=${row.handle}` : `name=${encodeURIComponent(name)}`
  const lease = Math.max(1, expiresAt - renewedAt)
  const silentMs = Math.max(0, Math.min(now - renewedAt, lease))
  const share = Math.round((silentMs / lease) * 100)
  const meter = html`<meter min="0" max="100" low="50" high="90" optimum="0" value="${share}" aria-label="${share} percent of the lease of ${name} has passed"></meter>`
  return html`<tr id="s-${row.handle}" class="${stale ? 'stale' : ''}">
<th scope="row" data-label="Session"><a href="${base}/show?${which}">${name}</a></th>
<td data-label="Device">${device ?? '–'}</td>
<td data-label="Messages" class="ids">${messageIds.join(', ') || '–'}</td>
<td data-label="Node">${nodeId ?? '–'}</td>
<td data-label="Held for" class="number">${formatDuration(now - lockedAt)}</td>
<td data-label="Silent">${meter}</td>
<td data-label="State">${stale ? html`<span class="tag bad">stale</span>` : html`<span class="tag">live</span>`}${row.contended && html` <span class="tag">waited for</span>`}</td>
${!readOnly && html`<td data-label="Act">${releaseButton(row)}</td>`}
</tr>`
}

function releaseButton({ handle, name, stale, nodeId }: ShownSession): Html {
  if (stale) {
    return html`<button type="button" id="r-${handle}" data-act="release" data-handle="${handle}" aria-label="Release ${name}">Release</button>`
  }
  const question = `${name} is live: its handler is running on ${nodeId}. Take the session from it? Its signal aborts.`
  return html`<button type="button" id="r-${handle}" data-act="release" data-handle="${handle}" data-force="true" data-ask="${question}" aria-label="Release ${name} by force">Force</button>`
}

function dead({ stats, dead: rows }: View, { readOnly }: PageContext): Html {
  if (rows.length === 0) return html`<p class="empty">No message is dead.</p>`
  const left = stats.messages.dead - rows.length
  return html`<div class="scroll"><table>
<caption class="hidden">Dead messages, the latest first</caption>
<thead><tr><th scope="col">Message</th><th scope="col">Session</th><th scope="col" class="number">Tries</th><th scope="col">Error</th>${!readOnly && html`<th scope="col">Act</th>`}</tr></thead>
<tbody>${rows.map((row) => deadRow(row, readOnly))}</tbody>
</table></div>
${left > 0 && html`<p>… and ${left} more.</p>`}`
}

function deadRow({ handle, messageId, session, attempts, lastError }: ShownMessage, readOnly: boolean): Html {
  const act = (action: string, label: string) =>
    html`<button type="button" id="${action}-${handle}" data-act="${action}" data-handle="${handle}" aria-label="${label} ${messageId}">${label}</button>`
  return html`<tr id="d-${handle}">
<th scope="row" data-label="Message" class="ids">${messageId}</th>
<td data-label="Session">${session ?? '–'}</td>
<td data-label="Tries" class="number">${attempts}</td>
<td data-label="Error">${lastError ?? '–'}</td>
${!readOnly && html`<td data-label="Act">${act('retry', 'Retry')} ${act('discard', 'Discard')}</td>`}
</tr>`
}

function nodes({ nodes: all, now }: View): Html {
  if (all.length === 0) return html`<p class="empty">No node holds anything.</p>`
  return html`<ul class="cards">${all.map((node) => nodeCard(node, now))}</ul>`
}

function nodeCard({ nodeId, sessions: held, stale, heardAt }: ShownNode, now: number): Html {
  const heard = heardAt === null ? '' : `heard ${formatDuration(now - heardAt)} ago`
  return html`<li class="${stale > 0 ? 'card bad' : 'card'}"><strong>${nodeId}</strong> <span>holds ${held}${stale > 0 && html`, <b>${stale} stale</b>`}</span> <small>${heard}</small></li>`
}

const OUTCOME_NAMES: Readonly<Record<Outcome, string>> = {
  acquired: 'acquired',
  duplicates: 'duplicates refused',
  busy: 'busy',
  takeovers: 'takeovers',
  failed: 'failed',
}

function outcomes({ recorder }: PageContext): Html {
  return html`<ul class="cards charts">${OUTCOMES.map((outcome) => outcomeCard(outcome, recorder.recent(outcome)))}</ul>`
}

function outcomeCard(outcome: Outcome, values: readonly number[]): Html {
  const total = values.reduce((sum, value) => sum + value, 0)
  const name = OUTCOME_NAMES[outcome]
  const label = `${name}: ${total} in the last ten minutes, at most ${Math.max(...values)} in ten seconds`
  const isBad = total > 0 && (outcome === 'takeovers' || outcome === 'failed')
  return html`<li class="${isBad ? 'card bad' : 'card'}"><strong>${total}</strong> <span>${name}</span>${barChart(label, values)}</li>`
}
