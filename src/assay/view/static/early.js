"use strict";
// The only script that a page waits for: it keeps the keys that are pressed before the other scripts are there.
const early = [];
const keep = (event) => { early.push(event); event.stopImmediatePropagation(); };
addEventListener("keydown", keep, true);
document.addEventListener("DOMContentLoaded", () => {
  removeEventListener("keydown", keep, true);
  for (const event of early) (document.activeElement ?? document.body).dispatchEvent(new KeyboardEvent("keydown", event));
});
