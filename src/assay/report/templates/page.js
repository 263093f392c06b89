"use strict";
(() => {
  const all = (selector, from = document) => [...from.querySelectorAll(selector)];
  const narrow = matchMedia("(max-width: 860px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  // Charts. Rows travel as columns of distinct values; colours as the names of CSS variables.

  const specs = JSON.parse(document.getElementById("specs").textContent);
  const views = [];
  vega.formatLocale({ decimal: ".", thousands: ",", grouping: [3], currency: ["", ""], percent: "\u202f%" });

  function unpacked(columns) {
    const names = Object.keys(columns);
    return columns[names[0]].rows.map((_, row) =>
      Object.fromEntries(names.map((name) => [name, columns[name].values[columns[name].rows[row]]])));
  }
  for (const spec of Object.values(specs)) spec.data = { values: unpacked(spec.data.columns) };

  function themed(part, style) {
    if (typeof part === "string") {
      const variable = /^var\((--[\w-]+)\)$/.exec(part);
      return variable ? style.getPropertyValue(variable[1]).trim() : part;
    }
    if (Array.isArray(part)) return part.map((item) => themed(item, style));
    if (part === null || typeof part !== "object") return part;
    return Object.fromEntries(Object.entries(part).map(([key, item]) =>
      [key, key === "data" || key === "domain" ? item : themed(item, style)]));
  }

  function config() {
    const font = getComputedStyle(document.body).fontFamily;
    return {
      font, background: null, view: { stroke: null },
      axis: {
        labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal", titleColor: "var(--muted)", titlePadding: 10,
        labelColor: "var(--muted)", gridColor: "var(--grid)", domainColor: "var(--line)", tickColor: "var(--line)",
        labelLimit: narrow.matches ? 124 : 240, labelLineHeight: 14, labelPadding: 6, ticks: false,
      },
      axisX: { labelOverlap: "parity", labelSeparation: 10, labelFlush: false },
      axisQuantitative: { domain: false },
      axisY: { titleAnchor: "end", titleAlign: "left", titleAngle: 0, titleX: 0, titleY: -12 },
      text: { fontSize: 13, font }, mark: { aria: false },
    };
  }

  function draw() {
    const style = getComputedStyle(document.documentElement);
    views.splice(0).forEach((view) => view.finalize());
    for (const box of all("[data-chart]")) {
      box.replaceChildren();
      const chart = themed(specs[box.dataset.chart], style);
      for (const param of chart.params ?? []) param.value = narrow.matches;
      const { spec } = vegaLite.compile({ ...chart, config: themed(config(), style) });
      const view = new vega.View(vega.parse(spec, null, { ast: true }), {
        renderer: "svg", container: box, hover: false, logLevel: vega.Warn, expr: vega.expressionInterpreter,
      });
      view.tooltip(showTip).run();
      views.push(view);
    }
  }

  const tip = document.body.appendChild(Object.assign(document.createElement("div"), { className: "tip", hidden: true }));

  function showTip(_, event, __, value) {
    tip.hidden = !value || typeof value !== "object";
    if (tip.hidden) return;
    tip.replaceChildren(...Object.entries(value).flat().map((text) =>
      Object.assign(document.createElement("span"), { textContent: text })));
    const room = document.documentElement.clientWidth - tip.offsetWidth - 8;
    const left = Math.max(8, Math.min(event.clientX + 14, room));
    tip.style.transform = `translate(${left + scrollX}px, ${event.clientY + 16 + scrollY}px)`;
  }

  draw();
  for (const query of [dark, narrow]) query.addEventListener("change", draw);
  addEventListener("beforeprint", () => { document.documentElement.classList.add("paper"); draw(); });
  addEventListener("afterprint", () => { document.documentElement.classList.remove("paper"); draw(); });

  // Tables. A row without a figure stays at the end, whichever way the column is sorted.

  function sortBy(head) {
    const body = head.closest("table").tBodies[0];
    const column = head.cellIndex;
    const text = head.classList.contains("text");
    const first = text ? "ascending" : "descending";
    const second = text ? "descending" : "ascending";
    const order = head.getAttribute("aria-sort") === first ? second : first;
    for (const other of head.parentNode.cells) other.setAttribute("aria-sort", other === head ? order : "none");
    const key = (row) => row.cells[column]?.dataset.v ?? "";
    const compare = (a, b) => (text ? a.localeCompare(b) : a - b) * (order === "ascending" ? 1 : -1);
    const rows = [...body.rows].sort((a, b) =>
      (key(a) === "") - (key(b) === "") || (key(a) === "" ? 0 : compare(key(a), key(b))));
    body.append(...rows);
  }
  for (const button of all("table.sortable th button")) button.addEventListener("click", () => sortBy(button.parentNode));

  // Rollouts to read: a page at a time, filtered by model and category. A link to one always shows it.

  const form = document.querySelector(".filters");
  if (!form) return;
  const cards = all(".card");
  const more = document.querySelector(".more button");
  const step = 8;
  let shown = step;

  function filter() {
    const { model, category } = form.elements;
    const fits = cards.filter((card) =>
      (!model.value || card.dataset.model === model.value) && (!category.value || card.dataset.category === category.value));
    const visible = new Set(fits.slice(0, shown));
    for (const card of cards) card.hidden = !visible.has(card);
    form.querySelector("output").textContent = `${visible.size} of ${fits.length} shown`;
    more.hidden = visible.size === fits.length;
    more.textContent = `Show ${Math.min(step, fits.length - visible.size)} more`;
  }
  function follow() {
    const card = cards.find((item) => `#${item.id}` === location.hash);
    if (!card) return;
    if (card.hidden) { form.reset(); shown = Math.max(shown, cards.indexOf(card) + 1); filter(); }
    card.scrollIntoView();
  }
  form.addEventListener("change", () => { shown = step; filter(); });
  form.addEventListener("submit", (event) => event.preventDefault());
  more.addEventListener("click", () => { shown += step; filter(); });
  addEventListener("hashchange", follow);
  form.reset();
  filter();
  follow();
})();
