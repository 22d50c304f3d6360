/** What the page does in the browser: puts in what the server sends, and sends what somebody clicks. */
export const SCRIPT = `'use strict'
{
  const { base } = document.body.dataset
  const said = document.getElementById('said')
  const live = document.getElementById('live')
  const down = document.getElementById('down')

  /**
   * Makes one element like another by changing no more than is different: else somebody who presses a button just
   * then would press one that is gone. What has an id is the same only under that id, so that no button becomes
   * another one's.
   */
  const become = (old, wanted) => {
    if (old.nodeType === Node.TEXT_NODE) {
      if (old.data !== wanted.data) old.data = wanted.data
      return
    }
    for (const { name } of [...old.attributes]) if (!wanted.hasAttribute(name)) old.removeAttribute(name)
    for (const { name, value } of wanted.attributes) {
      if (old.getAttribute(name) !== value) old.setAttribute(name, value)
    }
    becomeWithin(old, wanted)
  }

  const becomeWithin = (old, wanted) => {
    const named = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]))
    const next = [...wanted.childNodes]
    for (const [at, child] of next.entries()) {
      const there = old.childNodes[at]
      const same = child.id ? named.get(child.id) : there
      const isAlike = same && same.nodeName === child.nodeName && (same.id ?? '') === (child.id ?? '')
      if (!isAlike) old.insertBefore(child, there ?? null)
      else {
        if (same !== there) old.insertBefore(same, there ?? null)
        become(same, child)
      }
    }
    while (old.childNodes.length > next.length) old.lastChild.remove()
  }

  /** Whoever stood on a button that has moved stands there still. */
  const put = (id, text) => {
    const part = document.getElementById(id)
    const focused = part.contains(document.activeElement) ? document.activeElement.id : ''
    const wanted = document.createElement('template')
    wanted.innerHTML = text
    becomeWithin(part, wanted.content)
    if (focused && document.activeElement.id !== focused) document.getElementById(focused)?.focus()
  }

  const tell = (text, isBad) => {
    said.className = isBad ? 'bad' : ''
    said.textContent = text
  }

  /** An answer that is no stream, a proxy's 502 for one, ends an EventSource for good. */
  const AGAIN_MS = 3000

  const watch = () => {
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
      if (events.readyState === EventSource.CLOSED) setTimeout(watch, AGAIN_MS)
    })
  }
  watch()

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
