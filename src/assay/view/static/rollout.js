"use strict";
// The whole of a long text is fetched when it is asked for, and laid out piece by piece as it comes into view.
const PIECE = 60_000;
document.addEventListener("click", async (event) => {
  const link = event.target.closest("a[data-whole]");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  link.textContent = "Loading …";
  const answer = await fetch(link.href);
  if (!answer.ok) { location.href = link.href; return; }
  const text = await answer.text();
  const pieces = [];
  for (let at = 0; at < text.length;) {
    const line = text.indexOf("\n", at + PIECE);
    const end = line < 0 || line > at + 2 * PIECE ? at + PIECE : line + 1;
    const piece = document.createElement("div");
    piece.className = "chunk";
    piece.textContent = text.slice(at, end);
    pieces.push(piece);
    at = end;
  }
  const pre = link.closest("pre");
  pre.replaceChildren(...pieces);
  pre.focus();
});
