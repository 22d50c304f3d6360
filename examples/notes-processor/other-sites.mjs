/** Keeps other sites' pages out: a browser posts their forms here in its visitor's name. */

/** Lets through what reads only, and what comes from this app's own page or from a program. */
export function refuseOtherSites(req, res, next) {
  if (req.method === 'GET' || req.method === 'HEAD' || isOurs(req)) next()
  else res.status(403).json({ error: 'This was posted by a page of another site. Use the page of this app.' })
}

/** Browsers send `Sec-Fetch-Site`, older ones `Origin` at least; programs send neither. */
function isOurs(req) {
  const site = req.get('sec-fetch-site')
  if (site !== undefined) return site === 'same-origin' || site === 'none'
  const origin = req.get('origin')
  return origin === undefined || (URL.canParse(origin) && new URL(origin).host === req.get('host'))
}
