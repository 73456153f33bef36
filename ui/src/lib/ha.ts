/** The operator's input for a cluster, judged in the browser as early as possible; the server judges again. */
import type { Key } from "../i18n";

export const PORTS = [
  { field: "httpsPort", fallback: 443, who: "ha.port.browsers" },
  { field: "httpPort", fallback: 80, who: "ha.port.browsers", toggle: "httpEnabled" },
  { field: "ppHttpsPort", fallback: 444, who: "ha.port.balancer" },
  { field: "ppHttpPort", fallback: 81, who: "ha.port.balancer" },
  { field: "swarmPort", fallback: 2376, who: "ha.port.clients", toggle: "swarmEnabled" },
  { field: "redisPort", fallback: 6379, who: "ha.port.nodes" },
  { field: "zookeeperClientPort", fallback: 2181, who: "ha.port.nodes" },
  { field: "zookeeperQuorumPort", fallback: 2888, who: "ha.port.nodes" },
  { field: "zookeeperLeaderPort", fallback: 3888, who: "ha.port.nodes" },
] as const satisfies readonly { field: string; fallback: number; who: Key; toggle?: string }[];

export type PortField = (typeof PORTS)[number]["field"];
const RESERVED: Record<number, Key> = { 8080: "ha.port.reserved.server", 18080: "ha.port.reserved.status" };

export interface Address {
  scheme: string;
  authority: string;
  port: number | null;
}

/** Whatever was pasted, as scheme and host[:port]; a path that a browser adds is dropped. */
export function address(text: string, scheme: string): Address {
  let rest = text.trim();
  const hit = /^([a-z][a-z0-9+.-]*):\/\//i.exec(rest);
  let found = scheme;
  if (hit) {
    found = (hit[1] ?? "").toLowerCase() === "http" ? "http" : "https";
    rest = rest.slice(hit[0].length);
  }
  const path = rest.search(/[/?#]/);
  // Only the addresses of the API itself are cut: any other path is a mistake that the server explains.
  if (path >= 0 && /^\/*$|^\/+(v1|v2-beta)(\/.*)?$/i.test(rest.slice(path))) rest = rest.slice(0, path);
  const port = /:(\d{1,5})$/.exec(rest);
  return { scheme: found, authority: rest, port: port ? Number(port[1]) : null };
}

export function addressFault(text: string): Key | "" {
  if (!text) return "ha.url.needed";
  if (/\s/.test(text)) return "ha.url.spaces";
  if (text.includes("@")) return "ha.url.user";
  if (/[/?#]/.test(text)) return "ha.url.path";
  if (!/^(\[[0-9a-f:.]+\]|[a-z0-9_.-]+)(:\d{1,5})?$/i.test(text)) return "ha.url.host";
  const port = /:(\d{1,5})$/.exec(text.replace(/^\[.*\]/, ""));
  if (port && (Number(port[1]) < 1 || Number(port[1]) > 65535)) return "ha.port.range";
  return "";
}

export function addressWarning(text: string, scheme: string): Key | "" {
  const host = text.replace(/:\d+$/, "").replace(/^\[|\]$/g, "").toLowerCase();
  if (host === "localhost" || host.endsWith(".localhost") || /^127\./.test(host) || host === "::1") return "ha.url.localhost";
  if (/^(10\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.)/.test(host)) return "ha.url.private";
  return scheme === "http" ? "ha.url.plain" : "";
}

/** The first fault of each port: range, twice the same, or taken by the node itself. */
export function portFaults(ports: Record<string, number>, off: Set<string>): Record<string, { key: Key; other?: string }> {
  const out: Record<string, { key: Key; other?: string }> = {};
  const seen = new Map<number, string>();
  for (const { field } of PORTS) {
    const port = Number(ports[field]);
    if (off.has(field)) continue;
    const reserved = RESERVED[port];
    const other = seen.get(port);
    if (!Number.isInteger(port) || port < 1 || port > 65535) out[field] = { key: "ha.port.range" };
    else if (reserved) out[field] = { key: reserved };
    else if (other) out[field] = { key: "ha.port.twice", other };
    else seen.set(port, field);
  }
  return out;
}

/** "field: sentence" lines of a refusal, by field. */
export function serverFaults(detail: string, field: string, text: string): { field?: string; text: string }[] {
  const lines = detail.split("\n").map((line) => /^([a-zA-Z]+): (.*)$/.exec(line)).filter((hit) => hit !== null);
  if (lines.length) return lines.map((hit) => ({ field: hit[1], text: hit[2] ?? "" }));
  return [{ field: field || undefined, text }];
}
