/** Dark or light colours: those of the system, until the button chooses. */

import { byId } from "./dom";

const NAME = "warmcast-theme";
const DARK = matchMedia("(prefers-color-scheme: dark)");

/** Apply the kept choice, and let the button change it; `redraw` is called after each change. */
export function setUpTheme(redraw: () => void): void {
  apply(localStorage.getItem(NAME));
  byId("theme").addEventListener("click", () => {
    const isDark = document.documentElement.dataset["theme"] === "dark" || (!document.documentElement.dataset["theme"] && DARK.matches);
    const next = isDark ? "light" : "dark";
    localStorage.setItem(NAME, next);
    apply(next);
    redraw();
  });
  DARK.addEventListener("change", redraw);
}

function apply(theme: string | null): void {
  if (theme === "dark" || theme === "light") document.documentElement.dataset["theme"] = theme;
}
