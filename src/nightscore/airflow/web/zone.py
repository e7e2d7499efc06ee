"""Moments in the zone of whoever looks, which only their browser knows: the one script of the page.

It rewrites each moment that names its zone, and nothing else, in the zone that was chosen in Airflow's UI, or
in the browser's; what stood there, in the zone of the job, becomes its title. Without it all stays.
Its hash is in the page's Content-Security-Policy: no other script runs, whatever stands in the page.
"""

import hashlib
from base64 import b64encode

SCRIPT = """(() => {
  let zone;
  try { zone = localStorage.getItem("timezone").replace(/"/g, ""); } catch { /* nobody has chosen one */ }
  const form = (timeZone) => new Intl.DateTimeFormat("en-CA", {
    timeZone, year: "numeric", month: "2-digit", day: "2-digit", hour: "2-digit", minute: "2-digit",
    hourCycle: "h23", timeZoneName: "short",
  });
  let write;
  try { write = form(zone || undefined); } catch { write = form(undefined); }
  for (const one of document.querySelectorAll("time.here")) {
    const parts = write.formatToParts(new Date(one.dateTime));
    const part = Object.fromEntries(parts.map((found) => [found.type, found.value]));
    one.title = `${one.textContent}; ${one.title}`;
    one.textContent =
      `${part.year}-${part.month}-${part.day} ${part.hour}:${part.minute} ${part.timeZoneName}`;
  }
})();
"""
HASH = b64encode(hashlib.sha256(SCRIPT.encode()).digest()).decode()
