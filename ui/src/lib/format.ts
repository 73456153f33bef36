/** Numbers, sizes and times for people. */

export function bytes(value: number | null | undefined): string {
  if (value == null || Number.isNaN(value)) return "–";
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let size = value;
  let unit = 0;
  while (size >= 1024 && unit < units.length - 1) {
    size /= 1024;
    unit += 1;
  }
  return `${size >= 100 || unit === 0 ? Math.round(size) : size.toFixed(1)} ${units[unit]}`;
}

export const mib = (value: number | null | undefined): string => bytes(value == null ? undefined : value * 1024 * 1024);

export function percent(value: number | null | undefined): string {
  return value == null || Number.isNaN(value) ? "–" : `${Math.round(value)}%`;
}

export function millis(value: unknown): number | null {
  if (value == null || value === "") return null;
  if (typeof value === "number") return value < 1e11 ? value * 1000 : value;
  const parsed = Date.parse(String(value));
  return Number.isNaN(parsed) ? null : parsed;
}

export function ago(value: unknown, now: number): string {
  const at = millis(value);
  if (at == null) return "–";
  const seconds = Math.max(0, Math.round((now - at) / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} d`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
const FULL = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium", hourCycle: "h23" } as Intl.DateTimeFormatOptions);

export function clock(value: unknown): string {
  const at = millis(value);
  return at == null ? "–" : CLOCK.format(at);
}

export function full(value: unknown): string {
  const at = millis(value);
  return at == null ? "–" : FULL.format(at);
}

export const image = (uuid: string | null | undefined): string => (uuid ?? "").replace(/^docker:/, "");

export const shortId = (id: string | null | undefined): string => (id ?? "").slice(0, 12);

export function words(value: unknown): string {
  if (Array.isArray(value)) return value.join(" ");
  return value == null ? "" : String(value);
}
