"use strict";
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];

  // Filters apply at once.
  const filters = document.querySelector("form.filters");
  filters?.addEventListener("change", () => filters.requestSubmit());

  // Two or more are compared.
  const compare = document.getElementById("compare");
  const ticks = all("input[name=run]");
  const button = compare?.querySelector("button[type=submit]");
  const count = () => {
    const ticked = ticks.filter((one) => one.checked).length;
    button.disabled = ticked < 2;
    button.textContent = ticked < 2 ? "Compare the ticked runs" : `Compare ${ticked} runs`;
  };
  if (button) { compare.addEventListener("change", count); addEventListener("pageshow", count); count(); }

  // Cells of runs that are being made, as the server tells of them. Text is set as text.
  const rows = new Map(all("[data-run]").map((row) => [row.dataset.run, row]));
  const fresh = document.getElementById("fresh");
  const filtered = new URLSearchParams(location.search).size > 0;
  fresh?.addEventListener("click", () => location.reload());
  const known = new Set(rows.keys());

  function draw(range, [score, low, high]) {
    const at = (share) => (2 + 88 * Math.min(1, Math.max(0, share))).toFixed(1);
    range.toggleAttribute("hidden", score === undefined);
    if (score === undefined) return;
    range.querySelector("circle").setAttribute("cx", at(score));
    range.querySelector(".span").setAttribute("d", low === undefined ? "" : `M${at(low)} 6H${at(high)}`);
  }

  function show(row, figures) {
    const more = row.nextElementSibling?.matches(".more") ? row.nextElementSibling : null;
    for (const cell of [...all("[data-live]", row), ...(more ? all("[data-live]", more) : [])]) {
      const name = cell.dataset.live;
      if (name === "share") cell.value = figures.share;
      else if (name === "range") draw(cell, figures.range);
      else cell.textContent = figures[name] ?? "";
    }
    if (more) more.hidden = !figures.last && !figures.problem;
    row.classList.toggle("is-live", figures.state === "live");
  }

  let first = true;
  const source = new EventSource("/live");
  source.addEventListener("message", (event) => {
    const changed = JSON.parse(event.data);
    for (const [name, figures] of Object.entries(changed)) {
      if (rows.has(name)) show(rows.get(name), figures);
      else if (!known.has(name)) { known.add(name); if (fresh && !(first && filtered)) fresh.hidden = false; }
    }
    first = false;
  });
  addEventListener("pagehide", () => source.close());
})();
