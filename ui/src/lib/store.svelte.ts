/**
 * The picture of the installation that the pages draw from.
 *
 * Schemas are loaded once; each collection is a map by id; frames of the subscribe socket replace entries by id. The
 * last sequence number is remembered, so a reconnect (to whichever node answers) resumes where it stopped; when the
 * server cannot resume, it says so and everything shown is fetched again. The page never reloads.
 */
import { SvelteMap } from "svelte/reactivity";
import { all, ApiError, get, setProject, whenQuorum, type Collection, type Resource } from "./api";
import { t } from "../i18n";
import { prefs } from "./prefs.svelte";

export interface Field {
  type: string;
  required?: boolean;
  nullable?: boolean;
  create?: boolean;
  update?: boolean;
  min?: number;
  max?: number;
  minLength?: number;
  maxLength?: number;
  options?: string[];
  validChars?: string;
  invalidChars?: string;
  default?: unknown;
  description?: string;
}

export interface Schema extends Resource {
  resourceFields?: Record<string, Field>;
  pluralName?: string;
}

export const KINDS = ["host", "environment", "service", "container"] as const;
export type Kind = (typeof KINDS)[number];

/** Names under which the change log may speak of a kind. */
const ALIASES: Record<string, Kind> = {
  host: "host",
  environment: "environment",
  stack: "environment",
  service: "service",
  loadBalancerService: "service",
  dnsService: "service",
  externalService: "service",
  container: "container",
  instance: "container",
};

const PLURALS: Record<Kind, string> = {
  host: "hosts",
  environment: "environments",
  service: "services",
  container: "containers",
};

const SILENCE_MS = 11_000;
const STALE_MS = 15_000;

export type Connection = "idle" | "connecting" | "live" | "reconnecting" | "stale";

interface Frame {
  name: string;
  resourceType?: string;
  resourceId?: string;
  data?: { resource?: Resource };
  seq?: number;
}

class Store {
  readonly host = new SvelteMap<string, Resource>();
  readonly environment = new SvelteMap<string, Resource>();
  readonly service = new SvelteMap<string, Resource>();
  readonly container = new SvelteMap<string, Resource>();

  schemas = $state.raw<Record<string, Schema>>({});
  projects = $state.raw<Resource[]>([]);
  project = $state("");
  loaded = $state(false);
  failure = $state<unknown>(null);
  connection = $state<Connection>("idle");
  since = $state(0);
  retryAt = $state(0);
  /** Why nothing can be changed at present: the management plane has no majority. Empty when it has. */
  readonly = $state("");
  /** Raised by every applied change: pages that poll something dear can wait for it. */
  ticks = $state(0);

  private socket: WebSocket | null = null;
  private seq: number | null = null;
  private lastPing: number | null = null;
  private opened: () => void = () => undefined;
  private tries = 0;
  private watchdog: ReturnType<typeof setTimeout> | undefined;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private staleTimer: ReturnType<typeof setTimeout> | undefined;
  private queue: Frame[] = [];
  private scheduled = false;
  private fetching = 0;
  private touched = new Set<string>();
  private generation = 0;
  private started = false;

  /** Load what every page needs and go live. */
  async start(): Promise<void> {
    if (this.started) return;
    this.started = true;
    addEventListener("online", this.hurry);
    document.addEventListener("visibilitychange", this.hurry);
    await this.open();
  }

  private async open(): Promise<void> {
    this.failure = null;
    try {
      setProject("");
      const projects = await get<Collection>("/v1/projects");
      this.projects = projects.data.filter((row) => row.state !== "removed");
      const wanted = this.projects.find((row) => row.id === prefs.project) ?? this.projects[0];
      if (!wanted) throw new Error("This account is a member of no environment.");
      this.project = wanted.id;
      setProject(wanted.id);
      const rows = await all<Schema>("schemas");
      this.schemas = Object.fromEntries(rows.map((row) => [row.id, row]));
      // First listen, then read: what changes between the two is then not missed.
      await this.listening();
      await this.refetch();
      this.loaded = true;
    } catch (error) {
      this.failure = error;
      this.started = false;
    }
  }

  private listening(): Promise<void> {
    return new Promise((done) => {
      this.opened = done;
      setTimeout(done, 2500);
      this.connect();
    });
  }

  async retry(): Promise<void> {
    this.stop();
    await this.start();
  }

  async switchProject(id: string): Promise<void> {
    prefs.keep("project", id);
    this.stop();
    await this.start();
  }

  stop(): void {
    this.generation += 1;
    this.started = false;
    this.loaded = false;
    this.connection = "idle";
    this.seq = null;
    this.tries = 0;
    clearTimeout(this.watchdog);
    clearTimeout(this.timer);
    clearTimeout(this.staleTimer);
    removeEventListener("online", this.hurry);
    document.removeEventListener("visibilitychange", this.hurry);
    const socket = this.socket;
    this.socket = null;
    socket?.close();
    this.queue = [];
    for (const kind of KINDS) this[kind].clear();
  }

  /** Fetch the collections again. Rows that a frame touched meanwhile are newer and stay. */
  async refetch(): Promise<void> {
    const generation = this.generation;
    this.fetching += 1;
    try {
      const lists = await Promise.all(KINDS.map((kind) => all(`${PLURALS[kind]}?limit=1000`)));
      if (generation !== this.generation) return;
      KINDS.forEach((kind, at) => {
        const rows = lists[at] ?? [];
        const map = this[kind];
        const seen = new Set<string>();
        for (const row of rows) {
          seen.add(row.id);
          if (!this.touched.has(`${kind}/${row.id}`)) this.put(kind, row);
        }
        for (const id of [...map.keys()]) if (!seen.has(id) && !this.touched.has(`${kind}/${id}`)) map.delete(id);
      });
    } finally {
      this.fetching -= 1;
      if (this.fetching === 0) this.touched.clear();
    }
  }

  /** An answer of the server to our own request, shown at once. */
  apply(resource: Resource): void {
    const kind = ALIASES[resource.type];
    if (kind) this.put(kind, resource);
  }

  private put(kind: Kind, row: Resource): void {
    if (row.state === "removed" || row.state === "purged" || row.removed) this[kind].delete(row.id);
    else this[kind].set(row.id, row);
  }

  // -- the live channel --

  private connect(): void {
    clearTimeout(this.timer);
    const generation = this.generation;
    const scheme = location.protocol === "https:" ? "wss:" : "ws:";
    const resume = this.seq === null ? "" : `&resume=${this.seq}`;
    const path = `/v1/projects/${this.project}/subscribe?eventNames=resource.change${resume}`;
    const resuming = this.seq !== null;
    if (this.connection === "idle") this.connection = "connecting";
    let socket: WebSocket;
    try {
      socket = new WebSocket(`${scheme}//${location.host}${path}`);
    } catch {
      this.lost(generation);
      return;
    }
    this.socket = socket;
    this.lastPing = null;
    this.feed(socket);
    socket.onopen = () => {
      if (generation !== this.generation || socket !== this.socket) return;
      this.tries = 0;
      clearTimeout(this.staleTimer);
      this.staleTimer = undefined;
      this.connection = "live";
      this.since = Date.now();
      // Without a number to resume from, what happened meanwhile is unknown.
      if (this.loaded && !resuming) void this.refetch().catch(() => socket.close());
      this.opened();
    };
    socket.onmessage = (event) => {
      if (socket !== this.socket) return;
      this.feed(socket);
      try {
        this.receive(JSON.parse(String(event.data)) as Frame);
      } catch {
        // One unreadable frame must not end the channel.
      }
    };
    socket.onclose = () => {
      if (socket === this.socket) this.lost(generation);
    };
  }

  private feed(socket: WebSocket): void {
    clearTimeout(this.watchdog);
    this.watchdog = setTimeout(() => {
      if (socket !== this.socket) return;
      socket.close();
      this.lost(this.generation);
    }, SILENCE_MS);
  }

  private lost(generation: number): void {
    if (generation !== this.generation) return;
    this.socket = null;
    clearTimeout(this.watchdog);
    if (this.connection === "live" || this.connection === "connecting") {
      this.connection = "reconnecting";
      this.since = Date.now();
    }
    this.staleTimer ??= setTimeout(() => {
      if (this.connection !== "live") this.connection = "stale";
    }, STALE_MS);
    this.tries += 1;
    const base = Math.min(300 * 2 ** Math.min(this.tries - 1, 5), 5000);
    const wait = base * (0.7 + Math.random() * 0.6);
    this.retryAt = Date.now() + wait;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), wait);
    // A closed door tells nothing about why: ask over HTTP whether we are still signed in.
    if (this.tries === 2) void get("/v1/projects").catch(() => undefined);
  }

  private hurry = (): void => {
    if (document.visibilityState === "visible" && !this.socket && this.started && this.project) {
      clearTimeout(this.timer);
      this.connect();
    }
  };

  private receive(frame: Frame): void {
    if (frame.name === "ping") {
      // A ping may overtake changes that are still on their way, but not those of five seconds ago.
      const safe = this.lastPing ?? (this.seq === null ? (frame.seq ?? null) : null);
      if (safe !== null) this.seq = Math.max(this.seq ?? 0, safe);
      this.lastPing = frame.seq ?? this.lastPing;
      return;
    }
    if (typeof frame.seq === "number") this.seq = Math.max(this.seq ?? 0, frame.seq);
    if (frame.name === "logout") {
      void get("/v1/projects").catch(() => undefined);
      return;
    }
    if (frame.name === "resync") {
      this.seq = this.lastPing;
      void this.refetch().catch(() => this.socket?.close());
      return;
    }
    if (frame.name !== "resource.change") return;
    this.queue.push(frame);
    if (!this.scheduled) {
      this.scheduled = true;
      // One drawing for a burst of changes; a timer, because hidden tabs draw no frames.
      setTimeout(() => this.drain(), 30);
    }
  }

  private drain(): void {
    this.scheduled = false;
    const frames = this.queue;
    this.queue = [];
    for (const frame of frames) {
      const kind = ALIASES[frame.resourceType ?? ""];
      const id = frame.resourceId ?? frame.data?.resource?.id;
      if (!kind || !id) continue;
      if (this.fetching) this.touched.add(`${kind}/${id}`);
      const resource = frame.data?.resource;
      if (resource) this.put(kind, resource);
      else this[kind].delete(id);
    }
    this.ticks += 1;
  }

  // -- questions that several pages ask --

  get away(): boolean {
    return this.connection === "reconnecting" || this.connection === "stale";
  }

  stackOf(service: Resource | undefined): Resource | undefined {
    return service?.environmentId ? this.environment.get(service.environmentId as string) : undefined;
  }

  containersOf(serviceId: string): Resource[] {
    return [...this.container.values()].filter((row) => row.serviceId === serviceId).sort(byName);
  }

  containersOn(hostId: string): Resource[] {
    return [...this.container.values()].filter((row) => row.hostId === hostId).sort(byName);
  }

  servicesOf(stackId: string): Resource[] {
    return [...this.service.values()].filter((row) => row.environmentId === stackId).sort(byName);
  }
}

export const NAMES = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

export function title(row: Resource | undefined): string {
  return row?.name || row?.hostname || row?.id || "";
}

export function byName(a: Resource, b: Resource): number {
  return NAMES.compare(title(a), title(b));
}

/** Check a value against the server's own rule for the field; the sentence to show, or an empty string. */
export function violation(schema: Schema | undefined, name: string, value: unknown, label: string): string {
  const field = schema?.resourceFields?.[name];
  const text = value == null ? "" : String(value);
  if (!field) return "";
  if (field.required && !text) return t("valid.required", { label });
  if (!text) return "";
  if (field.minLength && text.length < field.minLength) return t("valid.short", { label, n: field.minLength });
  if (field.maxLength && text.length > field.maxLength) return t("valid.long", { label, n: field.maxLength });
  if (field.type === "int") {
    const number = Number(text);
    if (!Number.isInteger(number)) return t("valid.whole", { label });
    if (field.min != null && number < field.min) return t("valid.least", { label, n: field.min });
    if (field.max != null && number > field.max) return t("valid.most", { label, n: field.max });
  }
  return "";
}

export { ApiError };
export const store = new Store();
whenQuorum((reason) => {
  store.readonly = reason;
});

/** A clock for "12 s ago": one timer for the whole page. */
class Clock {
  now = $state(Date.now());
  constructor() {
    setInterval(() => {
      if (document.visibilityState === "visible") this.now = Date.now();
    }, 1000);
  }
}
export const ticking = new Clock();
