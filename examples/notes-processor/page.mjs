/** The page: how many notes there are of each status, and what may want somebody. It needs no JavaScript. */
import escapeHtml from 'escape-html'

const STATUSES = ['pending', 'processing', 'completed', 'failed']
const HEADS = ['Note', 'User', 'Text', 'Status', 'Node', 'Attempts', 'Summary or error', 'To do']
const LONGEST_TEXT = 120

const STYLE = `
:root {
  color-scheme: light dark;
  --line: light-dark(#d0d7de, #3a4450); --dim: light-dark(#57606a, #9aa7b4); --card: light-dark(#fff, #1a2028);
  --back: light-dark(#f6f7f9, #0f1318); --text: light-dark(#1b1f24, #e6eaef); --bad: light-dark(#b3261e, #ff9b93);
}
body { margin: 0 auto; padding: 1rem; max-width: 72rem; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
h1 { font-size: 1.3rem; }
.counts { display: grid; grid-template-columns: repeat(auto-fill, minmax(9rem, 1fr)); gap: .6rem; margin: 0; }
.counts div { padding: .5rem .8rem; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
.counts dd { margin: 0; font-size: 1.4rem; }
dt, caption, thead th { color: var(--dim); }
.bad { color: var(--bad); }
.reset { margin: 1rem 0; }
.scroll { margin-top: 1rem; overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
caption { padding: .5rem .8rem; text-align: left; }
th, td { padding: .4rem .8rem; border-top: 1px solid var(--line); text-align: left; vertical-align: top; font-weight: normal; overflow-wrap: break-word; }
button { font: inherit; cursor: pointer; white-space: nowrap; }`

export const PAGE_HEADERS = {
  'Cache-Control': 'no-store',
  // Nothing comes from elsewhere, and no other site can put this page, with its buttons, into a frame of its own.
  'Content-Security-Policy':
    "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
}

export function pageOf({ counts, notes }) {
  const stuck = counts.reduce((sum, count) => sum + count.stuck, 0)
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Notes</title>
<style>${STYLE}</style>
</head>
<body>
<main>
<h1>Notes</h1>
<dl class="counts">${STATUSES.map((status) => countOf(status, counts)).join('')}</dl>
${stuck > 0 ? resetForm(stuck) : ''}
<div class="scroll" role="region" aria-label="Notes" tabindex="0">
<table>
<caption>Failed ones and those being processed first, then the latest.</caption>
<thead><tr>${HEADS.map((head) => `<th scope="col">${head}</th>`).join('')}</tr></thead>
<tbody>
${notes.map(rowOf).join('\n')}
</tbody>
</table>
</div>
</main>
</body>
</html>
`
}

function countOf(status, counts) {
  const count = counts.find((one) => one.status === status)
  return `<div><dt>${status}</dt><dd>${count?.notes ?? 0}</dd></div>`
}

function resetForm(stuck) {
  const notes = stuck === 1 ? '1 note is stuck' : `${stuck} notes are stuck`
  return `<form class="reset" method="post" action="/reset-stuck">
<p class="bad">${notes}: nobody alive has ${stuck === 1 ? 'it' : 'them'} in hand. The next call that looks for work takes over.</p>
<button>Put stuck notes back to pending</button>
</form>`
}

function rowOf(note) {
  const { id, status, is_stuck: isStuck } = note
  const shown = isStuck ? '<strong class="bad">processing, stuck</strong>' : status
  const outcome = note.error === null ? shorten(note.summary) : `<span class="bad">${escapeHtml(note.error)}</span>`
  const cells = [
    escapeHtml(note.user_id),
    shorten(note.body),
    shown,
    escapeHtml(note.node ?? ''),
    note.attempts,
    outcome,
  ]
  const button = status === 'failed' ? retryForm(id) : ''
  return `<tr><th scope="row">${id}</th>${[...cells, button].map((cell) => `<td>${cell}</td>`).join('')}</tr>`
}

function retryForm(id) {
  return `<form method="post" action="/notes/${id}/retry"><button aria-label="Retry note ${id}">Retry</button></form>`
}

function shorten(text) {
  if (text === null) return ''
  return escapeHtml(text.length > LONGEST_TEXT ? `${text.slice(0, LONGEST_TEXT)}…` : text)
}
