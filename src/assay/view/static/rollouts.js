"use strict";
// Rows of the next page are fetched as the end of the table comes near; j and k walk the rows; progress is asked for.
const body = document.querySelector(".rows tbody");

function watch(end) {
  const link = end?.querySelector("a[rel=next]");
  if (!link) return;
  new IntersectionObserver(async ([seen], observer) => {
    if (!seen.isIntersecting) return;
    observer.disconnect();
    link.textContent = "Loading …";
    const address = new URL(link.href);
    address.searchParams.set("view", "rows");
    const answer = await fetch(address);
    if (!answer.ok) { link.textContent = "More could not be loaded. Try again"; return; }
    const rows = document.createElement("template");
    rows.innerHTML = await answer.text();
    end.replaceWith(rows.content);
    watch(body.querySelector("tr.next"));
  }, { rootMargin: "1200px" }).observe(end);
}
watch(body?.querySelector("tr.next"));

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea")) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector(".search input[type=search]").focus();
  } else if (body && (event.key === "j" || event.key === "k")) {
    const links = [...body.querySelectorAll("th a")];
    const at = links.indexOf(document.activeElement);
    const next = links[event.key === "j" ? at + 1 : Math.max(0, at - 1)];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }
});
body?.addEventListener("click", (event) => {
  if (event.target.closest("a") || String(getSelection())) return;
  event.target.closest("tr")?.querySelector("th a")?.click();
});

const side = document.querySelector(".side");
const wide = matchMedia("(min-width: 861px)");
const fit = () => { if (side) side.open = wide.matches; };
wide.addEventListener("change", fit);
fit();

const progress = document.querySelector("[data-state]");
async function follow() {
  const state = await (await fetch(progress.dataset.state)).json().catch(() => null);
  if (!state) return;
  const bar = progress.querySelector("progress");
  if (bar) bar.value = state.share;
  const output = progress.querySelector("output");
  if (output) output.textContent = `${(100 * state.share).toFixed(1)} %`;
  const scrolled = document.documentElement.scrollTop > 200;
  if ((state.share >= 1 && !scrolled) || ("empty" in progress.dataset && state.read > 0)) location.reload();
  else if (state.runs) setTimeout(follow, 1000);
}
if (progress?.querySelector("progress")) setTimeout(follow, 1000);
