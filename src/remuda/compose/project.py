"""From merged nodes to services: environments, sidekicks, links, and every rule that concerns more than one service."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec

from remuda.compose.documents import did_you_mean
from remuda.compose.draft import Draft
from remuda.compose.dump import RANCHER_KEYS
from remuda.compose.interpolate import Interpolation
from remuda.compose.keys import read_keys
from remuda.compose.model import ERROR, Project, ServiceSpec, VolumeSpec
from remuda.compose.mounts import Mounts
from remuda.compose.nodes import Node, Report
from remuda.compose.secrets import declared as secret
from remuda.compose.values import Values
from remuda.core.labels import SIDEKICKS
from remuda.core.spec import LaunchConfig

Files = Callable[[str], str]


class Builder:
    """Builds one project. ``files`` gives the text of an ``env_file``; ``base_dir`` is where relative folders start."""

    def __init__(
        self, report: Report, fill: Interpolation, stack_name: str, files: Files | None, base_dir: str | None
    ) -> None:
        self.report = report
        self.fill = fill
        self.stack_name = stack_name
        self.files = files
        self.values = Values(report)
        self.mounts = Mounts(report, self.values, base_dir)
        self.local = False
        self.imageless: dict[str, Node] = {}

    def build(self, services: Mapping[str, Node], volumes: Mapping[str, Node], secrets: Mapping[str, Node]) -> Project:
        """The project that the merged sections describe."""
        declared = {name: self.volume(name, node) for name, node in volumes.items()}
        known = {name: secret(name, node, self.values, self.report) for name, node in secrets.items()}
        drafts: dict[str, Draft] = {}
        for name, node in self.chosen(services).items():
            draft = Draft(name, node, self.report, self.values, self.mounts, declared, secrets=known)
            read_keys(draft)
            draft.put("environment", self.environment(node))
            drafts[name] = draft
        for name, node in self.imageless.items():
            self.complain(Draft(name, node, self.report, self.values, self.mounts, declared, secrets=known))
        owners = self.sidekicks(drafts)
        self.references(drafts, owners)
        launches = {name: self.launch(draft) for name, draft in drafts.items()}
        specs = [
            self.service(draft, launches, [drafts[s] for s, o in owners.items() if name in o], owners)
            for name, draft in drafts.items()
            if name not in owners
        ]
        self.cycles({spec.name: spec.depends_on for spec in specs}, drafts)
        return Project(
            services=specs,
            volumes=list(declared.values()),
            secrets=list(known.values()),
            local=self.local or self.mounts.local,
        )

    def chosen(self, services: Mapping[str, Node]) -> dict[str, Node]:
        """Services that are switched on and have something to run."""
        active = {p.strip() for p in self.fill.environment.get("COMPOSE_PROFILES", "").split(",") if p.strip()}
        found: dict[str, Node] = {}
        for name, node in services.items():
            profiles = self.values.texts(node.get("profiles") or node.with_value([]), "profiles")
            if profiles and not active.intersection((*profiles, "*")) and "*" not in active:
                self.report.warning(
                    node, f"{name} is left out: it needs COMPOSE_PROFILES={profiles[0]} in the environment", key=True
                )
                continue
            if node.get("image") is None and node.get("build") is None:
                if node.file == "rancher-compose.yml" or _only_rancher(node):
                    self.report.warning(
                        node, f"{name} is left out: it has no image, and docker-compose.yml does not name it", key=True
                    )
                else:
                    self.imageless[name] = node
                continue
            found[name] = node
        return found

    def complain(self, draft: Draft) -> None:
        """Why a service has no image: often another key is a misspelt one, and that is the thing to say."""
        known = len(self.report.problems)
        read_keys(draft)
        if not any(p.severity == ERROR for p in self.report.problems[known:]):
            self.report.error(draft.node, f"the service {draft.name} has no image", key=True)

    def volume(self, name: str, node: Node) -> VolumeSpec:
        """A declared volume. Its engine name carries the stack's, so that two stacks do not share by accident."""
        external = node.get("external")
        given = node.get("name")
        is_external = external is not None and (external.is_map or bool(self.values.switch(external, "external")))
        chosen = self.values.text(given, "name") if given is not None else None
        if external is not None and (inner := external.get("name")) is not None:
            chosen = self.values.text(inner, "name")
        if not chosen:
            chosen = name if is_external or not self.stack_name else f"{self.stack_name}_{name}"
        options = node.get("driver_opts")
        driver = node.get("driver")
        per_container = node.get("per_container")
        own = per_container is not None and bool(self.values.switch(per_container, "per_container"))
        if own and is_external and per_container is not None:
            self.report.warning(
                per_container, "per_container is ignored: an external volume is there already", key=True
            )
            own = False
        for key, child in node.items():
            known = ["driver", "driver_opts", "external", "labels", "name", "per_container"]
            if key not in known and not key.startswith("x-"):
                self.report.error(child, f"{key} is not a setting of a volume{did_you_mean(key, known)}", key=True)
        return VolumeSpec(
            name=name,
            docker_name=chosen,
            driver=(driver is not None and self.values.text(driver, "driver")) or "",
            driver_opts=self.values.strings(options, "driver_opts") if options is not None else {},
            external=is_external,
            per_container=own,
        )

    def environment(self, node: Node) -> dict[str, str]:
        """``env_file`` first, ``environment`` over it, keys without a value from the environment."""
        found: dict[str, str] = {}
        for entry in self.env_files(node.get("env_file")):
            found.update(entry)
        given = node.get("environment")
        for key, value in (self.values.pairs(given, "environment") if given is not None else {}).items():
            if value is not None:
                found[key] = value
                continue
            outside = self.fill.lookup(key)
            if outside is not None:
                found[key] = outside
            else:
                found.setdefault(key, "")
        return found

    def env_files(self, node: Node | None) -> list[dict[str, str]]:
        if node is None or node.value is None:
            return []
        found: list[dict[str, str]] = []
        for child in node.elements() if node.is_list else [node]:
            path_node = child.get("path") if child.is_map else child
            required = child.get("required")
            if path_node is None or not isinstance(path_node.value, str):
                self.report.error(child, "env_file must name a file")
                continue
            path = path_node.value
            if self.files is None:
                self.report.error(
                    path_node,
                    f"the file {path} is not here: deploy with `remuda up`, which reads it, or write its values "
                    "under environment",
                )
                continue
            self.local = True
            try:
                text = self.files(path)
            except (OSError, UnicodeError, KeyError) as error:
                if required is None or required.value is not False:
                    reason = getattr(error, "strerror", None) or "it cannot be read"
                    self.report.error(path_node, f"env_file {path}: {reason}")
                continue
            found.append(parse_env(text, self.fill.environment))
        return found

    def sidekicks(self, drafts: dict[str, Draft]) -> dict[str, list[str]]:
        """Which service is whose sidekick. One of several services has a container of its own beside each."""
        owners: dict[str, list[str]] = {}
        for name, draft in drafts.items():
            labels = draft.node.get("labels") or draft.node
            for sidekick in filter(None, (part.strip() for part in draft.labels.get(SIDEKICKS, "").split(","))):
                if sidekick == name:
                    self.report.error(labels, f"{name} cannot be its own sidekick")
                elif sidekick not in drafts:
                    near = did_you_mean(sidekick, list(drafts))
                    self.report.error(labels, f"the sidekick {sidekick} of {name} is not in the file{near}")
                elif name not in owners.setdefault(sidekick, []):
                    owners[sidekick].append(name)
        for sidekick, primaries in list(owners.items()):
            for owner in primaries:
                if owner in owners:
                    node = drafts[owner].node
                    self.report.error(node.get("labels") or node, f"{owner} is a sidekick and cannot have one itself")
                    owners.pop(sidekick, None)
        return owners

    def references(self, drafts: dict[str, Draft], owners: dict[str, list[str]]) -> None:
        """Networks and volumes taken from other services of the same unit."""
        for name, draft in drafts.items():
            names = {d.container_name: n for n, d in drafts.items() if d.container_name}
            if draft.network_from is not None:
                wish, node = draft.network_from
                target = names.get(wish, wish)
                if self._beside(target, name, drafts, owners, node, "share the network of"):
                    draft.launch["network_launch_config"] = target
            for wish, node in draft.volumes_from:
                text = wish.removeprefix("service:").removesuffix(":rw").removesuffix(":ro")
                if wish.startswith("container:"):
                    draft.launch.setdefault("data_volumes_from", []).append(wish.partition(":")[2].split(":")[0])
                    continue
                target = names.get(text, text)
                if self._beside(target, name, drafts, owners, node, "take the volumes of"):
                    draft.launch.setdefault("data_volumes_from_launch_configs", []).append(target)
        for name, draft in drafts.items():
            seen = {name}
            step = draft.launch.get("network_launch_config", "")
            while step:
                if step in seen:
                    self.report.error(draft.node, f"{name} and {step} take their networks from each other", key=True)
                    break
                seen.add(step)
                step = drafts[step].launch.get("network_launch_config", "") if step in drafts else ""

    def _beside(
        self, target: str, name: str, drafts: dict[str, Draft], owners: dict[str, list[str]], node: Node, verb: str
    ) -> bool:
        if target not in drafts:
            self.report.error(
                node, f"{name} wants to {verb} {target}, which is not in the file{did_you_mean(target, list(drafts))}"
            )
            return False
        if target == name:
            self.report.error(node, f"{name} cannot {verb} itself")
            return False
        if not set(owners.get(name, [name])) <= set(owners.get(target, [target])):
            primary = owners.get(target, [target])[0]
            self.report.error(
                node,
                f"{name} can {verb} {target} only on the same host: give {primary} the label "
                f"{SIDEKICKS}: {name}, so that they run side by side",
            )
            return False
        return True

    def launch(self, draft: Draft) -> LaunchConfig:
        return LaunchConfig(**draft.launch)

    def service(
        self, draft: Draft, launches: dict[str, LaunchConfig], sidekicks: list[Draft], owners: dict[str, list[str]]
    ) -> ServiceSpec:
        """The finished service, with the links and dependencies of its sidekicks as its own."""
        links: list[tuple[str, str]] = []
        depends: list[str] = []
        for one in (draft, *sidekicks):
            for target, alias in self._links(one, launches):
                target = _primary(target, draft.name, owners)
                if target != draft.name and (target, alias) not in links:
                    links.append((target, alias))
            for target in self._depends(one, launches):
                target = _primary(target, draft.name, owners)
                if target != draft.name and target not in depends:
                    depends.append(target)
        kind = _kind(draft.top.pop("kind", "service"), draft.extra)
        return ServiceSpec(
            name=draft.name,
            kind=kind,
            launch_config=launches[draft.name],
            sidekicks=[msgspec.structs.replace(launches[s.name], name=s.name) for s in sidekicks],
            links=links,
            external_links=[(target, alias) for one in (draft, *sidekicks) for target, alias, _ in one.external_links],
            depends_on=depends,
            extra=dict(draft.extra),
            **draft.top,
        )

    def _links(self, draft: Draft, known: Mapping[str, LaunchConfig]) -> Iterator[tuple[str, str]]:
        for target, alias, node in draft.links:
            if target in known:
                yield target, alias
            else:
                near = did_you_mean(target, list(known))
                self.report.warning(node, f"the link to {target} is ignored: no such service in the file{near}")

    def _depends(self, draft: Draft, known: Mapping[str, LaunchConfig]) -> Iterator[str]:
        for target, node, required in draft.depends_on:
            if target in known:
                yield target
            elif required:
                near = did_you_mean(target, list(known))
                self.report.error(node, f"{draft.name} depends on {target}, which is not in the file{near}")

    def cycles(self, depends: Mapping[str, list[str]], drafts: Mapping[str, Draft]) -> None:
        """Refuse services that wait for each other."""
        state: dict[str, int] = {}

        def visit(name: str, trail: list[str]) -> None:
            state[name] = 1
            for target in depends.get(name, []):
                if state.get(target) == 1:
                    loop = [*trail[trail.index(target) :], target] if target in trail else [name, target]
                    node = drafts[name].node.get("depends_on")
                    self.report.error(node, f"these wait for each other, so none could start: {' -> '.join(loop)}")
                elif target not in state and len(trail) < 500:
                    visit(target, [*trail, target])
            state[name] = 2

        for name in depends:
            if name not in state:
                visit(name, [name])


def _primary(name: str, asking: str, owners: Mapping[str, list[str]]) -> str:
    """The service that a name means: a sidekick stands for its primary, the asking one if it is that."""
    primaries = owners.get(name, [name])
    return asking if asking in primaries else primaries[0]


def _kind(kind: str, extra: dict[str, Any]) -> str:
    rules = extra.get("lb_config")
    ports = rules.get("port_rules") if isinstance(rules, dict) else None
    if isinstance(ports, list) and any(isinstance(r, dict) and r.get("source_port") for r in ports):
        return "loadBalancerService"
    if "storage_driver" in extra:
        return "storageDriverService"
    if "network_driver" in extra:
        return "networkDriverService"
    return kind


def _only_rancher(node: Node) -> bool:
    keys = [key for key, _ in node.items()]
    return bool(keys) and all(key in RANCHER_KEYS for key in keys)


def parse_env(text: str, environment: Mapping[str, str]) -> dict[str, str]:
    """An env file: ``KEY=value`` lines, comments, optional ``export``, quotes; a bare key comes from the environment."""
    found: dict[str, str] = {}
    for line in text.lstrip("\ufeff").splitlines():
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        key, equals, value = line.removeprefix("export ").partition("=")
        key, value = key.strip(), value.strip()
        if not equals:
            if key in environment:
                found[key] = environment[key]
            continue
        if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
            value = value[1:-1]
        else:
            value = value.partition(" #")[0].rstrip()
        if key:
            found[key] = value
    return found
