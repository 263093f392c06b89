"use strict";
// The policy of the pages allows no style in them, so that styles of a template travel as data.
for (const one of document.querySelectorAll("[data-style]")) one.style.cssText = one.dataset.style;
