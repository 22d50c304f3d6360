/** The pages: what is going on, and the story of one message or session. */
import { formatDuration } from '../engine/duration.ts'
import { isoTime, momentsOf } from '../engine/timeline.ts'
import { type AdminAnswer, text } from './answer.ts'
import { type Html, html } from './html.ts'
import type { ShownMessage, ShownSession } from './masking.ts'
import type { PageContext, Sections } from './sections.ts'

/** Nothing from elsewhere, nothing inline, and in nobody's frame. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

/** What stands at the head of each page. */
export interface Heading {
  readonly store: string
  readonly version: string
}

/** The page that is kept up to date. `down`: why there is nothing to show. */
export function livePage(
  context: PageContext,
  heading: Heading,
  sections: Sections | undefined,
  down: string,
): AdminAnswer {
  const part = (id: keyof Sections) => html`<div id="${id}">${sections?.[id]}</div>`
  return page(
    context,
    heading,
    html`
<p id="down" class="banner" role="alert"${down === '' && HIDDEN}>${down}</p>
<p id="said" role="status"></p>
<section aria-labelledby="h-now"><h2 id="h-now">Now</h2>${part('summary')}</section>
<section aria-labelledby="h-sessions"><h2 id="h-sessions">Sessions held</h2>${part('sessions')}</section>
<section aria-labelledby="h-dead"><h2 id="h-dead">Dead messages</h2>${part('dead')}</section>
<section aria-labelledby="h-nodes"><h2 id="h-nodes">Nodes</h2>${part('nodes')}</section>
<section aria-labelledby="h-outcomes"><h2 id="h-outcomes">Last ten minutes on ${context.nodeId}</h2>${part('outcomes')}</section>
<script src="${context.base}/page.js" defer></script>`,
  )
}

const HIDDEN: Html = html` hidden`

/** Everything that is known by one name. `left`: so many earlier messages are not shown. */
export function storyPage(
  context: PageContext,
  heading: Heading,
  name: string,
  found: {
    readonly sessions: readonly ShownSession[]
    readonly messages: readonly ShownMessage[]
    readonly left: number
  },
): AdminAnswer {
  const isNothing = found.sessions.length + found.messages.length === 0
  return page(
    context,
    heading,
    html`
<p><a href="${context.base}/">← back to what is going on</a></p>
<h2>${name}</h2>
${isNothing && html`<p class="empty">Nothing is known by this name: nobody holds it, and no message of it is remembered.</p>`}
${found.sessions.map(
  (session) =>
    html`<p class="${session.stale ? 'card bad' : 'card'}"><strong>${session.name}</strong> is held by <b>${session.nodeId ?? 'nobody'}</b> since ${timeOf(session.lockedAt)}${session.stale ? '; it is stale: its holder has stopped renewing it' : ''}.</p>`,
)}
${found.messages.map(storyOf)}
${found.left > 0 && html`<p>… and ${found.left} more. The latest are shown; look for others by their ids.</p>`}`,
  )
}

function storyOf(shown: ShownMessage): Html {
  const moments = momentsOf(shown)
  return html`<article class="card"><h3>${shown.messageId} <span class="${shown.status === 'dead' || shown.status === 'failed' ? 'tag bad' : 'tag'}">${shown.status}</span></h3>
<p>${shown.provider}${shown.session !== null && html`, session ${shown.session}`}${shown.device !== null && html`, device ${shown.device}`}</p>
<ol class="timeline">${moments.map(({ at, what }) => html`<li>${timeOf(at)} ${what}</li>`)}</ol></article>`
}

function timeOf(at: number): Html {
  const time = isoTime(at)
  if (time === undefined) return html`never`
  const distance = at <= Date.now() ? `${formatDuration(Date.now() - at)} ago` : `in ${formatDuration(at - Date.now())}`
  return html`<time datetime="${time}">${time.replace('T', ' ').slice(0, 19)} UTC</time> <small>(${distance})</small>`
}

function page({ base, readOnly, nodeId }: PageContext, { store, version }: Heading, body: Html): AdminAnswer {
  const whole = html`<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>session-lock</title>
<link rel="stylesheet" href="${base}/page.css">
<link rel="icon" href="${base}/icon.svg" type="image/svg+xml">
</head>
<body data-base="${base}">
<header>
<h1><a href="${base}/">session-lock</a></h1>
<p class="facts">${nodeId} · ${store} · ${version}${readOnly && html` · <b>read-only</b>`} · <span id="live">as of loading</span></p>
<form action="${base}/show" method="get" role="search"><label for="name">Find</label> <input id="name" name="name" required placeholder="prospect or message id" autocomplete="off"> <button>Show</button></form>
</header>
<main>${body}</main>
</body>
</html>`
  return text('text/html; charset=utf-8', whole.html, {
    'content-security-policy': POLICY,
    'referrer-policy': 'no-referrer',
  })
}
