/** A stack's state as its services make it: the worst one names it. */
import type { Resource } from "./api";
import { reason, tone } from "./states";

export function stackView(stack: Resource, services: Resource[]): Resource {
  if (stack.transitioning === "yes" || stack.transitioning === "error" || !services.length) return stack;
  const tones = services.map(tone);
  const worst = services[tones.indexOf("bad")];
  if (worst) return { ...stack, state: "degraded", transitioning: "error", transitioningMessage: `${worst.name}: ${reason(worst)}` };
  if (tones.includes("busy") || tones.includes("warn")) {
    const busy = services[Math.max(tones.indexOf("busy"), tones.indexOf("warn"))];
    return { ...stack, state: "activating", transitioning: "yes", transitioningMessage: `${busy?.name}: ${reason(busy)}` };
  }
  if (tones.every((value) => value === "idle")) return { ...stack, state: "inactive" };
  return { ...stack, state: "active" };
}

export interface Endpoint {
  text: string;
  href: string;
}

export function endpoints(service: Resource): Endpoint[] {
  const list = (service.publicEndpoints ?? []) as { ipAddress?: string; port?: number }[];
  const seen = new Set<string>();
  const out: Endpoint[] = [];
  for (const point of list) {
    const address = !point.ipAddress || point.ipAddress === "0.0.0.0" ? location.hostname : point.ipAddress;
    const text = `${address}:${point.port}`;
    if (!point.port || seen.has(text)) continue;
    seen.add(text);
    out.push({ text, href: `${point.port === 443 || point.port === 8443 ? "https" : "http"}://${text}` });
  }
  return out;
}
