"use strict";
// A key does what the element with its data-key does: a field is entered, anything else is clicked. Escape leaves a field.
// Once the page is being left, keys do nothing: they are meant for the next one.
let leaving = false;
addEventListener("submit", (event) => { leaving = !event.defaultPrevented; });
addEventListener("pageshow", () => { leaving = false; });
addEventListener("keydown", (event) => {
  if (leaving || event.ctrlKey || event.metaKey || event.altKey || event.isComposing || event.repeat) return;
  const field = event.target.closest?.("input:not([type=checkbox], [type=radio]), textarea, select");
  if (field) {
    if (event.key === "Escape") field.blur();
    return;
  }
  if (event.key === "Enter" && event.target.closest?.("a, button, summary")) return;
  const one = document.querySelector(`[data-key="${CSS.escape(event.key.toLowerCase())}"]`);
  if (!one) return;
  event.preventDefault();
  if (one.matches("textarea, input")) one.focus();
  else { one.click(); leaving ||= one.matches("a"); }
});
