/** Reading the facts that a host reports. */
import type { Resource } from "./api";
import { bytes, mib } from "./format";

export interface Usage {
  value: number | null;
  text: string;
}

const NONE: Usage = { value: null, text: "" };

export function cpu(host: Resource): Usage {
  const cores = host.info?.cpuInfo?.cpuCoresPercentages as number[] | undefined;
  if (!cores?.length) return NONE;
  return { value: cores.reduce((sum, core) => sum + core, 0) / cores.length, text: "" };
}

export function memory(host: Resource): Usage {
  const info = host.info?.memoryInfo as Record<string, number> | undefined;
  if (!info?.memTotal) return NONE;
  const used = info.memTotal - (info.memAvailable ?? info.memFree ?? 0);
  return { value: (used / info.memTotal) * 100, text: `${mib(used)} / ${mib(info.memTotal)}` };
}

export interface Mount {
  path: string;
  total: number;
  used: number;
}

/** The disks; two paths on one disk count once. */
export function mounts(host: Resource): Mount[] {
  const all = (host.info?.diskInfo?.mountPoints ?? {}) as Record<string, { total: number; used: number }>;
  const seen = new Set<string>();
  const out: Mount[] = [];
  for (const [path, mount] of Object.entries(all)) {
    const same = `${Math.round(mount.total / 16)}`;
    if (!mount.total || seen.has(same)) continue;
    seen.add(same);
    out.push({ path, total: mount.total, used: mount.used });
  }
  return out;
}

export const docker = (host: Resource): string =>
  String(host.info?.osInfo?.dockerVersion ?? "").replace(/^Docker version /, "").replace(/, build.*$/, "");

export function disk(host: Resource): Usage {
  // The disk that matters first is the fullest one.
  let worst: Usage = NONE;
  for (const mount of mounts(host)) {
    const value = (mount.used / mount.total) * 100;
    if (worst.value == null || value > worst.value) worst = { value, text: `${mib(mount.used)} / ${mib(mount.total)}` };
  }
  return worst;
}

export const cores = (host: Resource): number => Number(host.info?.cpuInfo?.count ?? 0);
export const memTotal = (host: Resource): number => Number(host.info?.memoryInfo?.memTotal ?? 0);
export { bytes };
