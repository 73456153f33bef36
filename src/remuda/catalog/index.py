"""A repository's files to its templates: where they are, what their versions are, which one is meant by default.

A template is a folder with ``config.yml`` (or ``template.yml``) in ``templates/`` or ``<base>-templates/``; its versions are
folders whose names are numbers or versions. Whatever cannot be read is left out and told; one bad template spoils no other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping

from remuda.catalog.model import Finding, Template, Version
from remuda.catalog.questions import block_of, text
from remuda.catalog.questions import read as read_questions
from remuda.catalog.versions import key
from remuda.compose.nodes import Node, Report
from remuda.compose.yamlread import read as read_yaml

Read = Callable[[str], str]
"""The text of a file by its path in the repository; OSError or UnicodeError when it cannot be had."""

_ROOT = re.compile(r"(?:([a-z0-9]+)-)?templates$")
_REVISION = re.compile(r"v?\d[0-9A-Za-z.+-]*$")
DOCKER = ("docker-compose.yml", "docker-compose.yml.tpl", "compose.yml", "compose.yml.tpl")
RANCHER = ("rancher-compose.yml", "rancher-compose.yml.tpl")
_CONFIGS = ("config.yml", "template.yml")


def index(catalog: str, paths: Iterable[str], read: Read) -> tuple[list[Template], list[Finding]]:
    """All templates of a repository by their place in it, and what could not be read."""
    folders: dict[tuple[str, str], list[str]] = {}
    for path in sorted(paths):
        root, _, rest = path.partition("/")
        folder, _, below = rest.partition("/")
        if _ROOT.match(root) and below:
            folders.setdefault((root, folder), []).append(below)
    found: list[Template] = []
    findings: list[Finding] = []
    for (root, folder), files in folders.items():
        path = f"{root}/{folder}"
        try:
            if (template := _template(catalog, root, folder, files, read)) is not None:
                found.append(template)
        except (OSError, UnicodeError, ValueError) as error:
            findings.append(Finding(path, str(error) or type(error).__name__))
    return found, findings


def _template(catalog: str, root: str, folder: str, files: list[str], read: Read) -> Template | None:
    path = f"{root}/{folder}"
    if (config := next((name for name in _CONFIGS if name in files), None)) is None:
        raise ValueError("there is no config.yml")
    given = _document(read(f"{path}/{config}"), config)
    own = [name for name in files if "/" not in name]
    base = _ROOT.match(root)
    return Template(
        catalog=catalog, folder=folder, base=(base and base[1]) or "", path=path,
        name=text(given.get("name")) or folder, description=text(given.get("description")).strip(),
        category=text(given.get("category")) or _first(given.get("categories")), default_version=text(given.get("version")),
        maintainer=text(given.get("maintainer")), license=text(given.get("license")),
        project_url=text(given.get("projectURL")) or text(given.get("project_url")), labels=_labels(given.get("labels")),
        icon=next((n for n in own if n.lower().startswith(("catalogicon", "icon"))), ""),
        readme=next((n for n in own if n.lower() == "readme.md"), ""), versions=_versions(path, files, read),
    )  # fmt: skip


def _versions(path: str, files: list[str], read: Read) -> list[Version]:
    folders: dict[str, list[str]] = {}
    for name in files:
        revision, _, below = name.partition("/")
        if below and _REVISION.match(revision):
            folders.setdefault(revision, []).append(below)
    found = [_version(f"{path}/{revision}", revision, below, read) for revision, below in folders.items()]
    return sorted(found, key=lambda version: key(version.revision))


def _version(folder: str, revision: str, files: list[str], read: Read) -> Version:
    block: Node | None = None
    for name in ("template-version.yml", *RANCHER, "compose.yml"):
        if name in files and block is None:
            document = _document(read(f"{folder}/{name}"), name)
            block = document if name == "template-version.yml" else block_of(document)

    def said(*names: str) -> str:
        return next((text(node) for name in names if block and (node := block.get(name)) is not None), "")

    return Version(
        revision=revision, folder=folder, files=files, version=said("version") or revision, questions=read_questions(block),
        minimum=said("minimum_rancher_version"), maximum=said("maximum_rancher_version"), upgrade_from=said("upgrade_from"),
        labels=_labels(block.get("labels") if block else None),
    )  # fmt: skip


def _document(content: str, name: str) -> Node:
    report = Report()
    root = read_yaml(content, name, report)
    if root is None or report.failed:
        raise ValueError("; ".join(str(problem) for problem in report.problems if problem.severity == "error"))
    return root


def _labels(node: Node | None) -> dict[str, str]:
    return {name: text(value) for name, value in (node.items() if node is not None else [])}


def _first(node: Node | None) -> str:
    return text(node.elements()[0]) if node is not None and node.elements() else text(node)


def default(template: Template, among: Iterable[Version]) -> Version | None:
    """The version that is meant when none is named: the one that the template says, or else the highest."""
    choice = list(among)
    said = [version for version in choice if version.version == template.default_version]
    if said:
        return said[0]
    return max(choice, key=lambda version: (key(version.version), key(version.revision)), default=None)


def stack_files(version: Version, read: Read) -> tuple[str, str, str, str]:
    """(name, text) of the docker-compose file, then of the rancher-compose file; empty when there is none.

    A file that is there but empty counts as none, as templates keep an empty one beside a template of it.
    """
    contents: Mapping[str, str] = {
        name: read(f"{version.folder}/{name}") for name in (*DOCKER, *RANCHER) if name in version.files
    }
    docker = next((name for name in DOCKER if contents.get(name, "").strip()), "")
    rancher = next((name for name in RANCHER if contents.get(name, "").strip()), "")
    return docker, contents.get(docker, ""), rancher, contents.get(rancher, "")
