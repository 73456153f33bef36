/** Keys that work everywhere but in fields and terminals. */
import { route } from "./router.svelte";
import { floating } from "./ui.svelte";

export const GOTO: Record<string, { to: string; key: string }> = {
  o: { to: "/", key: "nav.overview" },
  s: { to: "/stacks", key: "nav.stacks" },
  c: { to: "/containers", key: "nav.containers" },
  h: { to: "/hosts", key: "nav.hosts" },
  n: { to: "/network", key: "nav.network" },
  e: { to: "/operations", key: "nav.operations" },
  a: { to: "/admin/ha", key: "nav.ha" },
};

let prefixUntil = 0;

export function inField(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  if (!element?.closest) return false;
  return Boolean(element.closest("input, textarea, select, [contenteditable=true], .cm-editor, .xterm"));
}

export function keyboard(event: KeyboardEvent): void {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k") {
    if ((event.target as HTMLElement | null)?.closest?.(".xterm")) return;
    event.preventDefault();
    floating.palette = !floating.palette;
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey || inField(event.target)) return;
  if (floating.question || floating.palette || document.querySelector("dialog[open]")) return;
  if (event.key === "/") {
    event.preventDefault();
    floating.palette = true;
  } else if (event.key === "?") {
    floating.keys = true;
  } else if (event.key === "f") {
    const filter = document.querySelector<HTMLElement>("[data-filter]");
    if (filter) {
      event.preventDefault();
      filter.focus();
    }
  } else if (performance.now() < prefixUntil && event.key in GOTO) {
    prefixUntil = 0;
    route.go(GOTO[event.key]?.to ?? "/");
  } else if (event.key === "g") {
    prefixUntil = performance.now() + 1200;
  }
}
