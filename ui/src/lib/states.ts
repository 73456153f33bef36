/** What a state means to the eye: a tone and an icon. Never by colour alone. */
import type { Resource } from "./api";
import type { IconName } from "./icons";

export type Tone = "good" | "busy" | "warn" | "bad" | "idle";

const TONES: Record<string, Tone> = {
  active: "good", passing: "good", failing: "bad", running: "good", healthy: "good", ok: "good", up: "good", connected: "good", leader: "good", serving: "good", ready: "good", leading: "good", following: "good", follower: "good", standalone: "good", started: "good",
  activating: "busy", creating: "busy", requested: "busy", registering: "busy", starting: "busy", stopping: "busy",
  restarting: "busy", removing: "busy", deactivating: "busy", "updating-active": "busy", "updating-inactive": "busy",
  initializing: "busy", joining: "busy", waiting: "busy", pending: "busy",
  degraded: "warn", limited: "warn", "canceled-upgrade": "warn", upgraded: "good", upgrading: "busy", "rolling-back": "busy", "canceling-upgrade": "busy",
  reconnecting: "warn", reinitializing: "warn", warning: "warn", spare: "idle", "started-once": "idle",
  error: "bad", unhealthy: "bad", disconnected: "bad", lost: "bad", failed: "bad", down: "bad",
  inactive: "idle", stopped: "idle", removed: "idle", purged: "idle", unknown: "idle", absent: "idle", disabled: "idle",
};

const ICONS: Record<Tone, IconName> = { good: "check", busy: "spin", warn: "warn", bad: "alert", idle: "pause" };

export function tone(resource: Partial<Resource>): Tone {
  if (resource.transitioning === "error") return "bad";
  const base = TONES[resource.state ?? ""];
  if (resource.transitioning === "yes") return base === "warn" ? "warn" : "busy";
  if (base === "good" && resource.healthState === "unhealthy") return "bad";
  if (base === "good" && resource.healthState === "degraded") return "warn";
  if (base === "good" && resource.healthState === "reinitializing") return "warn";
  if (base === "good" && resource.healthState === "initializing") return "busy";
  return base ?? "idle";
}

export const toneOf = (state: string): Tone => TONES[state] ?? "idle";
export const toneIcon = (value: Tone): IconName => ICONS[value];

const ON_THE_WAY = new Set(["activating", "creating", "starting", "updating-active", "updating-inactive", "restarting"]);

/** The word to show: a thing that cannot go on is not "activating". */
export function stateWord(row: Resource): string {
  const state = row.state ?? "unknown";
  if (row.transitioning === "error" && ON_THE_WAY.has(state)) return "blocked";
  if (tone(row) === "bad" && row.healthState === "unhealthy" && row.transitioning !== "error") return "unhealthy";
  if (state === "running" && row.transitioning !== "yes" && (row.healthState === "initializing" || row.healthState === "reinitializing")) return row.healthState;
  return state;
}

const WELL = new Set(["", "healthy", "updating-healthy", "started-once"]);

/** Is it checked, and not (yet) well? */
export function ailing(row: Resource): boolean {
  return !WELL.has(row.healthState ?? "");
}

/** One sentence: what it waits for or why it is not well. */
export function reason(row: Resource | undefined): string {
  return String((row?.transitioning !== "no" && row?.transitioningMessage) || (row && ailing(row) && row.healthBecause) || row?.because || row?.transitioningMessage || "");
}

const ORDER: Tone[] = ["bad", "warn", "busy", "good", "idle"];
export const rank = (value: Tone): number => ORDER.indexOf(value);

export function can(resource: Resource | undefined, action: string): boolean {
  return Boolean(resource?.actions && action in resource.actions);
}
