/** What the page does in the browser: puts in what the server sends, and sends what somebody clicks. */
export const SCRIPT = `'use strict'
{
  const { base } = document.body.dataset
  const said = document.getElementById('said')
  const live = document.getElementById('live')
  const down = document.getElementById('down')

  /** A part is put in anew; whoever stood on a button of it stands there still. */
  const put = (id, text) => {
    const part = document.getElementById(id)
    const focused = part.contains(document.activeElement) ? document.activeElement.id : ''
    part.innerHTML = text
    if (focused) document.getElementById(focused)?.focus()
  }

  const tell = (text, isBad) => {
    said.className = isBad ? 'bad' : ''
    said.textContent = text
  }

  const events = new EventSource(base + '/events')
  events.addEventListener('sections', (event) => {
    for (const [id, text] of Object.entries(JSON.parse(event.data))) put(id, text)
    live.textContent = 'live'
    down.hidden = true
  })
  events.addEventListener('alive', () => {
    live.textContent = 'live'
    down.hidden = true
  })
  events.addEventListener('down', (event) => {
    down.textContent = JSON.parse(event.data)
    down.hidden = false
  })
  events.addEventListener('error', () => {
    live.textContent = 'not connected; trying again'
  })

  const DONE = {
    release: ({ released, refused }) =>
      released.length + ' released' + (refused.length > 0 ? ', refused: ' + refused.join(', ') : ''),
    retry: ({ count }) => count + ' queued again',
    discard: ({ count }) => count + ' discarded',
  }

  const send = async ({ act, handle, force, stale }) => {
    const body = stale ? { stale: true } : { handles: [handle], ...(force && { force: true }) }
    const headers = { 'content-type': 'application/json' }
    const answer = await fetch(base + '/api/' + act, { method: 'POST', headers, body: JSON.stringify(body) })
    const value = await answer.json()
    if (!answer.ok) throw new Error(value.detail)
    tell(DONE[act](value), value.refused && value.refused.length > 0)
  }

  document.addEventListener('click', (event) => {
    const button = event.target.closest('button[data-act]')
    if (!button || (button.dataset.ask && !window.confirm(button.dataset.ask))) return
    send(button.dataset).catch((error) => tell(error.message, true))
  })
}
`
