/** Talking to the server: relative URLs only, so that any node and any load balancer will do. */

export interface Resource {
  id: string;
  type: string;
  name?: string;
  description?: string;
  state?: string;
  transitioning?: string;
  transitioningMessage?: string;
  created?: string | number | null;
  createdTS?: number;
  links?: Record<string, string>;
  actions?: Record<string, string>;
  // biome-ignore lint: resources are described by the server's schemas, not by this file
  [field: string]: any;
}

export interface Collection<T = Resource> {
  type: "collection";
  data: T[];
  pagination?: { next?: string | null; total?: number | null } | null;
}

/** What the server said when it refused: a code for programs, a sentence for people. */
export class ApiError extends Error {
  readonly status: number;
  readonly code: string;
  readonly detail: string;
  readonly fieldName: string;

  constructor(status: number, body: Record<string, unknown>, fallback: string) {
    super(String(body.message || body.detail || fallback));
    this.name = "ApiError";
    this.status = status;
    this.code = String(body.code ?? "");
    this.detail = String(body.detail ?? "");
    this.fieldName = String(body.fieldName ?? "");
  }
}

/** No answer at all: the node, the network or the load balancer is away. */
export class Unreachable extends Error {}

type Listener = () => void;
const onUnauthorized = new Set<Listener>();

export function whenUnauthorized(fn: Listener): void {
  onUnauthorized.add(fn);
}

const onQuorum = new Set<(reason: string) => void>();

/** Told of every write that was refused for want of a quorum, and with an empty reason of every one that was not. */
export function whenQuorum(fn: (reason: string) => void): void {
  onQuorum.add(fn);
}

let project = "";

export function setProject(id: string): void {
  project = id;
}

/** `hosts/1h1` in the present environment; a path that starts with `/` is taken as it is. */
export function url(path: string): string {
  if (path.startsWith("/")) return path;
  return project ? `/v1/projects/${project}/${path}` : `/v1/${path}`;
}

function cookie(name: string): string {
  const hit = document.cookie.split("; ").find((part) => part.startsWith(`${name}=`));
  return hit ? decodeURIComponent(hit.slice(name.length + 1)) : "";
}

export interface Options {
  method?: string;
  body?: unknown;
  signal?: AbortSignal;
  timeout?: number;
}

export async function raw(path: string, options: Options = {}): Promise<Response> {
  const method = options.method ?? (options.body === undefined ? "GET" : "POST");
  // No challenge: a browser that is asked for Basic credentials puts its own dialog over ours and answers nothing.
  const headers: Record<string, string> = { Accept: "application/json", "X-API-No-Challenge": "true" };
  if (options.body !== undefined) headers["Content-Type"] = "application/json";
  if (method !== "GET") headers["X-API-CSRF"] = cookie("CSRF");
  const limit = AbortSignal.timeout(options.timeout ?? 30_000);
  const signal = options.signal ? AbortSignal.any([options.signal, limit]) : limit;
  let response: Response;
  try {
    response = await fetch(url(path), {
      method,
      headers,
      signal,
      credentials: "same-origin",
      body: options.body === undefined ? undefined : JSON.stringify(options.body),
    });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Unreachable(error instanceof Error ? error.message : String(error));
  }
  if (response.ok) {
    // These write nothing, so they prove nothing.
    const reads = method === "GET" || /composeplans|action=(logs|execute|exportconfig)/.test(path);
    if (!reads) for (const fn of onQuorum) fn("");
    return response;
  }
  if (response.status === 401 && !path.startsWith("/v1/token") && !path.startsWith("/v1/setup")) {
    for (const fn of onUnauthorized) fn();
  }
  let body: Record<string, unknown> = {};
  try {
    body = (await response.json()) as Record<string, unknown>;
  } catch {
    // A proxy's error page; the status line has to do.
  }
  if (body.code === "NoQuorum") for (const fn of onQuorum) fn(String(body.message || body.detail || "?"));
  throw new ApiError(response.status, body, `${response.status} ${response.statusText}`.trim());
}

export async function request<T = Resource>(path: string, options: Options = {}): Promise<T> {
  const response = await raw(path, options);
  const text = await response.text();
  return (text ? JSON.parse(text) : {}) as T;
}

export const get = <T = Resource>(path: string, signal?: AbortSignal): Promise<T> => request<T>(path, { signal });
export const post = <T = Resource>(path: string, body: unknown = {}, signal?: AbortSignal): Promise<T> =>
  request<T>(path, { body, signal });
export const put = <T = Resource>(path: string, body: unknown): Promise<T> =>
  request<T>(path, { method: "PUT", body });
export const del = <T = Resource>(path: string): Promise<T> => request<T>(path, { method: "DELETE" });

/** A link that the server made, kept to its path: the host name in it may be another node's. */
export function local(link: string): string {
  try {
    const parsed = new URL(link, location.href);
    return parsed.pathname + parsed.search;
  } catch {
    return link;
  }
}

/** All pages of a collection. */
export async function all<T = Resource>(path: string, signal?: AbortSignal): Promise<T[]> {
  const rows: T[] = [];
  let next: string | null | undefined = path;
  for (let page = 0; next && page < 100; page += 1) {
    const answer: Collection<T> = await get<Collection<T>>(next, signal);
    rows.push(...(answer.data ?? []));
    next = answer.pagination?.next ? local(answer.pagination.next) : null;
  }
  return rows;
}

/** The WebSocket address of `{url, token}` answers, through the server we are talking to. */
export function socketUrl(access: { url: string; token: string }, extra: Record<string, string> = {}): string {
  const parsed = new URL(access.url, location.href);
  const here = new URL(location.href);
  const target = new URL(`${here.protocol === "https:" ? "wss:" : "ws:"}//${here.host}${parsed.pathname}${parsed.search}`);
  if (access.token) target.searchParams.set("token", access.token);
  for (const [key, value] of Object.entries(extra)) target.searchParams.set(key, value);
  return target.toString();
}

export function message(error: unknown): string {
  if (error instanceof ApiError) {
    return error.detail && error.detail !== error.message ? `${error.message} ${error.detail}` : error.message;
  }
  return error instanceof Error ? error.message : String(error);
}
