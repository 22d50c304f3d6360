/** The page's look: light and dark, and down to a phone's width. */
export const STYLE = `:root {
  color-scheme: light dark;
  --back: #f6f7f9; --card: #ffffff; --text: #1b1f24; --dim: #57606a; --line: #d0d7de;
  --accent: #0a58ca; --bad: #b3261e; --bad-back: #fdecea; --good: #1a7f37;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #0f1318; --card: #1a2028; --text: #e6eaef; --dim: #9aa7b4; --line: #323c47;
    --accent: #79b8ff; --bad: #ff9b93; --bad-back: #3a1d1b; --good: #6fdd8b;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 15px/1.45 system-ui, sans-serif; }
header { display: flex; flex-wrap: wrap; gap: .5rem 1.5rem; align-items: baseline; padding: .8rem 1.2rem; background: var(--card); border-bottom: 1px solid var(--line); }
h1 { font-size: 1.15rem; margin: 0; }
h1 a { color: inherit; text-decoration: none; }
h2 { font-size: 1rem; margin: 1.4rem 0 .5rem; }
h3 { font-size: .95rem; margin: 0; overflow-wrap: anywhere; }
.facts { margin: 0; color: var(--dim); flex: 1; overflow-wrap: anywhere; }
main { padding: 0 1.2rem 2rem; max-width: 84rem; margin: 0 auto; }
a { color: var(--accent); }
input, button { font: inherit; color: inherit; background: var(--card); border: 1px solid var(--line); border-radius: .35rem; padding: .25rem .6rem; }
button { cursor: pointer; border-color: var(--accent); color: var(--accent); }
button:hover { background: var(--accent); color: var(--card); }
button[data-force] { border-color: var(--bad); color: var(--bad); }
button[data-force]:hover { background: var(--bad); color: var(--card); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; }
.cards { list-style: none; display: grid; grid-template-columns: repeat(auto-fill, minmax(11rem, 1fr)); gap: .6rem; padding: 0; margin: 0; }
.charts { grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .6rem .8rem; overflow-wrap: anywhere; }
article.card { margin: .6rem 0; }
.card strong { font-size: 1.15rem; }
.card small, .card span { color: var(--dim); }
.card small { display: block; }
.card.bad { border-color: var(--bad); background: var(--bad-back); }
.card.bad strong, .bad b { color: var(--bad); }
.chart { display: block; width: 100%; height: 40px; margin-top: .4rem; }
.chart rect { fill: var(--accent); }
.chart line { stroke: var(--line); stroke-width: 1; }
.bad .chart rect { fill: var(--bad); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .4rem .7rem; border-bottom: 1px solid var(--line); vertical-align: top; font-weight: normal; }
thead th { color: var(--dim); font-size: .85rem; white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
tr.stale { background: var(--bad-back); }
.ids { max-width: 20rem; overflow-wrap: anywhere; font-family: ui-monospace, monospace; font-size: .85rem; }
.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.tag { display: inline-block; border: 1px solid var(--line); border-radius: 1rem; padding: 0 .6rem; font-size: .85rem; color: var(--good); white-space: nowrap; }
.tag.bad { color: var(--bad); border-color: var(--bad); }
meter { width: 7rem; height: .9rem; }
.banner { background: var(--bad-back); color: var(--bad); border: 1px solid var(--bad); border-radius: .5rem; padding: .6rem .8rem; margin: 1rem 0 0; }
[hidden] { display: none; }
.empty { color: var(--dim); }
#said { min-height: 1.45em; margin: .6rem 0 0; color: var(--good); }
#said.bad { color: var(--bad); }
.timeline { margin: .4rem 0 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.hidden { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
@media (max-width: 44rem) {
  main { padding: 0 .7rem 2rem; }
  thead { display: none; }
  table, tbody, tr, th, td { display: block; width: 100%; }
  tbody tr { border-bottom: 1px solid var(--line); padding: .4rem 0; }
  th, td { border: 0; padding: .15rem .7rem; display: flex; gap: .8rem; max-width: none; text-align: left; overflow-wrap: anywhere; }
  .number { white-space: normal; text-align: left; }
  th::before, td::before { content: attr(data-label); flex: 0 0 6rem; color: var(--dim); font: .85rem/1.6 system-ui, sans-serif; }
}
`

/** A padlock. */
export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect x="2" y="7" width="12" height="8" rx="2" fill="#0a58ca"/><path d="M5 7V5a3 3 0 0 1 6 0v2" fill="none" stroke="#0a58ca" stroke-width="2"/></svg>
`
