// Renews the page in place while somebody looks at it; without this script a page stays as it was loaded.
"use strict";

const button = document.getElementById("live");
let live = true;

function main() {
  return document.querySelector("main[data-refresh]");
}

function busy(place) {
  return place.contains(document.activeElement) || !getSelection().isCollapsed;
}

async function renew() {
  const place = main();
  if (!live || document.hidden || busy(place)) {
    return;
  }
  try {
    const answer = await fetch(location.href, { cache: "no-store", redirect: "error" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("main");
    // what somebody has begun meanwhile stays
    if (fresh && live && !busy(place)) {
      place.replaceWith(fresh);
      button.textContent = "live";
    }
  } catch {
    button.textContent = "not answering";
  }
}

async function again() {
  await renew();
  const place = main();
  if (place) {
    setTimeout(again, Number(place.dataset.refresh) * 1000);
  } else {
    button.hidden = true;
  }
}

if (main()) {
  button.hidden = false;
  button.addEventListener("click", () => {
    live = !live;
    button.textContent = live ? "live" : "paused";
    button.classList.toggle("paused", !live);
  });
  setTimeout(again, Number(main().dataset.refresh) * 1000);
}
