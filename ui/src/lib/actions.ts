/** What can be done to a thing, in one place for rows, pages and the palette. */
import { del, post, put, type Resource } from "./api";
import { t } from "../i18n";
import type { IconName } from "./icons";
import { can } from "./states";
import { store, title } from "./store.svelte";
import { floating } from "./ui.svelte";

export interface Action {
  id: string;
  label: string;
  icon: IconName;
  danger?: boolean;
  run: () => void;
}

const PATHS: Record<string, string> = {
  host: "hosts",
  environment: "environments",
  stack: "environments",
  service: "services",
  // the further kinds of services are rows of the same collection
  loadBalancerService: "services",
  dnsService: "services",
  externalService: "services",
  container: "containers",
};

export const pathOf = (row: Resource): string => `${PATHS[row.type] ?? `${row.type}s`}/${row.id}`;

export async function act(row: Resource, action: string, body: unknown = {}): Promise<Resource> {
  const answer = await post<Resource>(`${pathOf(row)}?action=${action}`, body);
  if (answer?.type === row.type && answer.id === row.id) store.apply(answer);
  return answer;
}

export async function remove(row: Resource): Promise<void> {
  await del(pathOf(row));
}

export async function scaleTo(row: Resource, scale: number): Promise<void> {
  const answer = await put<Resource>(pathOf(row), { scale });
  if (answer?.type) store.apply(answer);
}

function simple(row: Resource, id: string, icon: IconName, label: string): Action {
  return { id, icon, label, run: () => void floating.attempt(() => act(row, id)) };
}

function asked(row: Resource, id: string, icon: IconName, label: string, text: string): Action {
  return {
    id,
    icon,
    label,
    run: () => floating.ask({ title: `${label} ${title(row)}?`, text, confirm: label, run: () => act(row, id) }),
  };
}

function removal(row: Resource, text: string, typed?: string, after?: () => void): Action {
  const label = t("do.remove");
  return {
    id: "remove",
    icon: "trash",
    label,
    danger: true,
    run: () =>
      floating.ask({
        title: t("ask.remove", { name: title(row) }),
        text,
        confirm: label,
        danger: true,
        typed,
        run: async () => {
          await remove(row);
          after?.();
        },
      }),
  };
}

/** The actions that the server offers for this row now, in the order in which people look for them. */
export function actionsOf(row: Resource, after?: () => void): Action[] {
  const out: Action[] = [];
  switch (row.type) {
    case "container":
      if (can(row, "start")) out.push(simple(row, "start", "play", t("do.start")));
      if (can(row, "restart")) out.push(asked(row, "restart", "restart", t("do.restart"), t("ask.restart.container")));
      if (can(row, "stop")) out.push(asked(row, "stop", "stop", t("do.stop"), t(row.serviceId ? "ask.stop.owned" : "ask.stop.container")));
      if (can(row, "remove")) out.push(removal(row, t(row.serviceId ? "ask.remove.owned" : "ask.remove.container"), undefined, after));
      break;
    case "service":
    case "loadBalancerService":
    case "dnsService":
    case "externalService":
      if (can(row, "activate")) out.push(simple(row, "activate", "play", t("do.start")));
      if (can(row, "restart")) out.push(asked(row, "restart", "restart", t("do.restart"), t("ask.restart.service")));
      if (can(row, "finishupgrade")) out.push(simple(row, "finishupgrade", "check", t("do.finishupgrade")));
      if (can(row, "cancelupgrade")) out.push(simple(row, "cancelupgrade", "pause", t("do.cancelupgrade")));
      if (can(row, "rollback")) out.push(asked(row, "rollback", "left", t("do.rollback"), t("ask.rollback")));
      if (can(row, "deactivate")) out.push(asked(row, "deactivate", "stop", t("do.stop"), t("ask.stop.service")));
      if (can(row, "remove")) out.push(removal(row, t("ask.remove.service"), undefined, after));
      break;
    case "environment":
    case "stack":
      if (can(row, "activateservices") && store.servicesOf(row.id).some((s) => s.state === "inactive" || s.state === "deactivating")) out.push(simple(row, "activateservices", "play", t("do.startall")));
      if (can(row, "deactivateservices") && store.servicesOf(row.id).some((s) => s.state !== "inactive")) out.push(asked(row, "deactivateservices", "stop", t("do.stopall"), t("ask.stop.stack")));
      if (can(row, "remove")) out.push(removal(row, t("ask.remove.stack"), title(row), after));
      break;
    case "host":
      if (can(row, "activate")) out.push(simple(row, "activate", "play", t("do.activate")));
      if (can(row, "deactivate")) out.push(asked(row, "deactivate", "pause", t("do.deactivate"), t("ask.deactivate.host")));
      if (can(row, "remove")) out.push(removal(row, t("ask.remove.host"), undefined, after));
      break;
  }
  return out;
}
