/* What every page does besides being refreshed: tips, clickable rows, and honesty about staleness. */
"use strict";
(() => {
  const tip = document.getElementById("tip");
  const stale = document.getElementById("stale");
  let loadedAt = new Date();

  function showTip(target) {
    tip.textContent = target.dataset.tip;
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const left = Math.min(at.left + at.width / 2 - tip.offsetWidth / 2, innerWidth - tip.offsetWidth - 8);
    const above = at.top - tip.offsetHeight - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 8 ? above : at.bottom + 8}px`;
  }
  const tipped = (event) => event.target.closest?.("[data-tip]");
  for (const kind of ["mouseover", "focusin"]) {
    document.addEventListener(kind, (event) => {
      const target = tipped(event);
      if (target) showTip(target);
    });
  }
  for (const kind of ["mouseout", "focusout"]) document.addEventListener(kind, () => { tip.hidden = true; });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") tip.hidden = true; });
  document.addEventListener("scroll", () => { tip.hidden = true; }, { capture: true, passive: true });

  // The link in the row's header serves the keyboard; the rest of the row is a larger target for it.
  document.addEventListener("click", (event) => {
    const row = event.target.closest?.("tr[data-href]");
    if (row && !event.target.closest("a, button") && !getSelection().toString()) location.href = row.dataset.href;
  });

  function lost(why) {
    const since = loadedAt.toISOString().slice(11, 19);
    stale.textContent = `${why} What you see is from ${since} UTC; retrying every 5 s.`;
    stale.hidden = false;
    document.body.classList.add("lost");
  }
  document.addEventListener("htmx:before:request", (event) => { if (document.hidden) event.preventDefault(); });
  document.addEventListener("htmx:after:request", (event) => {
    const { status } = event.detail.ctx.response;
    if (status === 401) return;
    if (status >= 400) return lost(status === 404 ? "This is no longer there." : `The controller answers with an error (${status}).`);
    loadedAt = new Date();
    stale.hidden = true;
    document.body.classList.remove("lost");
  });
  document.addEventListener("htmx:error", () => lost("The controller does not answer."));
})();
