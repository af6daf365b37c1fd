// Follows the stream of changes and takes over the new table; without it the page shows what was true when asked for.
"use strict";
(() => {
  let asking = false;
  let again = false;
  const renew = async () => {
    if (asking) { again = true; return; }
    asking = true;
    try {
      const answer = await fetch(location.href, { headers: { "Accept": "text/html" } });
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const fresh = page.getElementById("live");
        const place = [scrollX, scrollY];
        if (fresh) { document.getElementById("live").replaceChildren(...fresh.childNodes); scrollTo(...place); }
      }
    } finally {
      asking = false;
      if (again) { again = false; renew(); }
    }
  };
  const stream = new EventSource("/reporting/v1/progress/stream");
  stream.addEventListener("change", renew);
  let first = true;
  stream.addEventListener("snapshot", (event) => {
    const shown = document.getElementById("position").textContent;
    if (!first || JSON.parse(event.data).position !== shown) renew();
    first = false;
  });
})();
