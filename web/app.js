/** Which view stands at which address: `#/`, `#/jobs/ID`, `#/fleet`. A view is a function that fills `main`. */

import { installKeyDialog } from "./api.js";
import { fleet } from "./fleet.js";
import { home } from "./home.js";
import { jobView } from "./job.js";

const main = document.getElementById("main");
let leave = new AbortController();

function show({ focus = true } = {}) {
  leave.abort();
  leave = new AbortController();
  const [, view, id] = location.hash.split("/");
  main.replaceChildren();
  if (view === "jobs" && id) jobView(main, decodeURIComponent(id), leave.signal);
  else if (view === "fleet") fleet(main, leave.signal);
  else home(main, leave.signal);
  for (const link of document.querySelectorAll("nav a")) {
    const here = link.hash === (view === "fleet" ? "#/fleet" : "#/");
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (focus) main.focus({ preventScroll: true });
  scrollTo(0, 0);
}

document.getElementById("theme-button").addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("murmur.theme", root.dataset.theme);
});
// A file that misses the drop zone must not take the page's place.
for (const kind of ["dragover", "drop"]) addEventListener(kind, (event) => event.preventDefault());
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  main.focus();
});
addEventListener("hashchange", () => show());
installKeyDialog(() => show());
show({ focus: false });
