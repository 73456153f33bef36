/** A tiny router: the path and the query of the address bar as state, and links that do not reload the page. */

class Route {
  path = $state(location.pathname);
  query = $state(new URLSearchParams(location.search));

  constructor() {
    addEventListener("popstate", () => this.read());
    addEventListener("click", (event) => this.click(event));
  }

  private read(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
  }

  go(to: string, replace = false): void {
    if (to === location.pathname + location.search) return;
    history[replace ? "replaceState" : "pushState"](null, "", to);
    const moved = to.split("?")[0] !== this.path;
    this.read();
    if (moved) {
      scrollTo(0, 0);
      // Readers of the screen hear that the page changed.
      queueMicrotask(() => document.getElementById("main")?.focus({ preventScroll: true }));
    }
  }

  /** Keep a tab, filter or sort order in the address without a new history entry. */
  set(name: string, value: string): void {
    const query = new URLSearchParams(location.search);
    if (value) query.set(name, value);
    else query.delete(name);
    const text = query.toString();
    this.go(location.pathname + (text ? `?${text}` : ""), true);
  }

  private click(event: MouseEvent): void {
    if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    const anchor = (event.target as Element | null)?.closest?.("a");
    if (!anchor || anchor.target || anchor.hasAttribute("download") || anchor.origin !== location.origin) return;
    if (anchor.pathname.startsWith("/v1") || anchor.pathname.startsWith("/static")) return;
    if (anchor.hash && anchor.pathname === location.pathname) return;
    event.preventDefault();
    this.go(anchor.pathname + anchor.search);
  }
}

export const route = new Route();

export interface Match {
  page: string;
  id: string;
}

const PAGES: [RegExp, string][] = [
  [/^\/$/, "overview"],
  [/^\/stacks$/, "stacks"],
  [/^\/stacks\/new$/, "deploy"],
  [/^\/stacks\/([^/]+)$/, "stack"],
  [/^\/services\/([^/]+)$/, "service"],
  [/^\/containers$/, "containers"],
  [/^\/containers\/([^/]+)$/, "container"],
  [/^\/hosts$/, "hosts"],
  [/^\/hosts\/add$/, "addhost"],
  [/^\/hosts\/([^/]+)$/, "host"],
  [/^\/network$/, "network"],
  [/^\/storage$/, "storage"],
  [/^\/registries$/, "registries"],
  [/^\/secrets$/, "secrets"],
  [/^\/operations$/, "operations"],
  [/^\/admin\/ha$/, "ha"],
  [/^\/admin\/api-keys$/, "keys"],
  [/^\/admin\/audit$/, "audit"],
  [/^\/admin\/settings$/, "settings"],
  [/^\/login$/, "login"],
  [/^\/setup$/, "setup"],
];

export function match(path: string): Match {
  for (const [pattern, page] of PAGES) {
    const hit = pattern.exec(path);
    if (hit) return { page, id: hit[1] ? decodeURIComponent(hit[1]) : "" };
  }
  return { page: "missing", id: "" };
}
