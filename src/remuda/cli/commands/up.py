"""``remuda up``: judge the files here, with exact places; send them; show how each service gets there.

The texts are sent as they are, with the variables they ask for, so that the stack shows what was written. Only where they
depend on this machine (``env_file``, relative folders, several files) is the normalised result sent instead.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from remuda.cli.client import Api, Json
from remuda.cli.commands.secrets import ensure
from remuda.cli.errors import FAILED, REFUSED, TIMED_OUT, USAGE, CliError, RefusalError
from remuda.cli.output import clean, reason_of, state_of
from remuda.cli.session import Session, current, read_text

if TYPE_CHECKING:
    from remuda.compose import Project

FILES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = (
    "compose.override.yaml",
    "compose.override.yml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
)
RANCHER = ("rancher-compose.yml", "rancher-compose.yaml")
STUCK_SECONDS = 30.0
"""A refusal that lasts this long is believed; shorter ones happen while hosts come, make their network, and go."""


@dataclass(frozen=True)
class Files:
    """The texts of a stack and where they came from."""

    main: tuple[str, str]
    rancher: tuple[str, str]
    more: tuple[tuple[str, str], ...]
    folder: Path
    environment: Mapping[str, str]


def up(
    *,
    files: Annotated[list[str] | None, Parameter(name=["--file", "-f"], allow_leading_hyphen=True)] = None,
    stack: Annotated[str, Parameter(name=["--stack", "-s", "--project-name", "-p"])] = "",
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative="")] = False,
    rancher_file: Annotated[str, Parameter(name=["--rancher-file", "-r"])] = "",
    env_file: Annotated[list[str] | None, Parameter(name=["--env-file", "-e"])] = None,
    wait_timeout: float = 600,
    check: Annotated[bool, Parameter(negative="")] = False,
) -> None:
    """Deploy compose files: create what they add, update what they change, remove nothing.

    Parameters
    ----------
    files
        docker-compose file; may be repeated, later ones over earlier ones. Default: compose.yaml or docker-compose.yml here.
    stack
        Name of the stack. Default: the name of the folder of the first file.
    detach
        Do not wait until the services are active.
    rancher_file
        rancher-compose file. Default: rancher-compose.yml beside the first file, if there is one.
    env_file
        File of KEY=value lines for variables, under those of the shell. Default: .env beside the first file.
    wait_timeout
        Seconds until giving up with exit code 6. The deployment goes on.
    check
        Only judge the files; nothing is sent.
    """
    session = current()
    texts = gather(files or [], rancher_file, env_file or [], session.environ)
    name = stack or stack_name(texts.folder)
    project = judge(session, texts, name)
    if check:
        session.output.say(f"{len(project.services)} services, nothing to object to")
        return
    ensure(session, project.secrets, texts.folder, texts.environment)
    body = request_body(texts, project)
    found = deploy(session, name, body)
    session.output.say(f"stack {name} ({found['id']}): {len(project.services)} services sent")
    wake(session, found, {s.name for s in project.services if s.start_on_create})
    if not detach:
        follow(session, found, [s.name for s in project.services], wait_timeout)
    elif session.output.form == "json":
        session.output.document(found)


def gather(files: list[str], rancher_file: str, env_files: list[str], environ: Mapping[str, str]) -> Files:
    """Find and read the files."""
    chosen = files or [f for f in environ.get("COMPOSE_FILE", "").split(os.pathsep) if f] or _default(Path.cwd())
    main, *more = [(name, read_text(name)) for name in chosen]
    folder = Path.cwd() if main[0] == "-" else Path(main[0]).resolve().parent
    beside = next((folder / n for n in RANCHER if (folder / n).is_file()), None)
    rancher = rancher_file or (_shown(beside) if beside else "")
    values: dict[str, str] = {}
    from remuda.compose import parse_env

    chosen_env = env_files or ([str(folder / ".env")] if (folder / ".env").is_file() else [])
    for path in chosen_env:
        values |= parse_env(read_text(path), environ)
    return Files(
        main, (rancher, read_text(rancher)) if rancher else ("", ""), tuple(more), folder, {**values, **environ}
    )


def _default(folder: Path) -> list[str]:
    for name in FILES:
        if (folder / name).is_file():
            return [name, *[n for n in OVERRIDES if (folder / n).is_file()][:1]]
    raise CliError(f"there is no {' or '.join(FILES)} in {folder}; name a file with -f", USAGE)


def _shown(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def stack_name(folder: Path) -> str:
    """The folder's name as a stack may be called."""
    name = re.sub(r"[^a-zA-Z0-9-]+", "-", folder.name).strip("-")[:63]
    if not name:
        raise CliError(f"{folder} does not make a stack's name; give one with --stack", USAGE)
    return name


def judge(session: Session, texts: Files, name: str) -> Project:
    """Read the files as the server will; end with exit code 4 when they cannot be deployed."""
    from remuda import compose

    def open_file(path: str) -> str:
        return (texts.folder / path).read_text("utf-8")

    project = compose.load(
        texts.main[1],
        texts.rancher[1],
        environment=texts.environment,
        stack_name=name,
        files=open_file,
        base_dir=str(texts.folder),
        names=(texts.main[0] if texts.main[0] != "-" else "stdin", texts.rancher[0] or RANCHER[0]),
        overrides=texts.more,
    )
    for problem in project.problems:
        session.output.say(clean(str(problem)))
    if project.errors:
        count = len(project.errors)
        raise CliError(
            f"nothing was deployed: {count} error{'s' if count > 1 else ''} in the files, see above", REFUSED
        )
    return project


def request_body(texts: Files, project: Project) -> Json:
    """What to send: the texts with their variables, or the normalised result where they depend on this machine."""
    if project.local:
        from remuda.compose import dump

        docker, rancher = dump(project.services, project.volumes)
        return {"dockerCompose": docker, "rancherCompose": rancher, "environment": {}}
    asked = {name: texts.environment[name] for name in project.variables if name in texts.environment}
    return {"dockerCompose": texts.main[1], "rancherCompose": texts.rancher[1], "environment": asked}


def deploy(session: Session, name: str, body: Json) -> Json:
    """Create the stack or apply to the one there is; safe to repeat when an answer got lost."""
    api = session.api
    tries = 0
    while True:
        tries += 1
        there = find_stack(api, name)
        if there is not None:
            return api.action(there, "apply", body)
        try:
            return api.create("environment", {"name": name, "startOnCreate": True, **body})
        except RefusalError as refusal:
            # somebody (perhaps our own lost request) was quicker: apply to what is there now
            if refusal.reason != "NotUnique" or tries > 1:
                raise
        except CliError:
            if tries > 2 or not api.reached:
                raise


def wake(session: Session, stack: Json, names: set[str]) -> None:
    """Services that were stopped by hand are started: that is what "up" means."""
    for service in session.api.fetch("service", environmentId=stack["id"]):
        if service["name"] in names and service.get("state") in ("inactive", "deactivating"):
            session.api.action(service, "activate")
            session.output.say(f"{service['name']} was stopped; it is started again")


def find_stack(api: Api, name: str) -> Json | None:
    """The stack of this name."""
    found = [s for s in api.fetch("environment", name=name) if s.get("name") == name and s.get("state") != "removed"]
    return found[0] if found else None


def follow(session: Session, stack: Json, names: list[str], timeout: float) -> None:
    """Show each service until all are active; reasons where they are not."""
    deadline = time.monotonic() + timeout
    stuck_since: float | None = None
    progress = _Progress(session)
    try:
        while True:
            services = [s for s in session.api.fetch("service", environmentId=stack["id"]) if s["name"] in names]
            waiting = [s for s in services if not arrived(s)]
            progress.show(services)
            if not waiting and len(services) >= len(names):
                break
            now = time.monotonic()
            stuck = bool(waiting) and all(
                s.get("state") == "error" or s.get("transitioning") == "error" for s in waiting
            )
            stuck_since = (stuck_since or now) if stuck else None
            if now > deadline:
                raise CliError(_told(f"not active within {timeout:g} s", waiting), TIMED_OUT)
            if stuck_since is not None and now - stuck_since > STUCK_SECONDS:
                raise CliError(_told("cannot become active", waiting), FAILED)
            time.sleep(0.5)
    finally:
        progress.end()
    if session.output.form == "json":
        session.output.document(services)


def arrived(service: Json) -> bool:
    """Is there nothing more to wait for?"""
    wanted_off = service.get("startOnCreate") is False and service.get("state") == "inactive"
    return wanted_off or (service.get("state") == "active" and service.get("transitioning") == "no")


def _told(what: str, services: list[Json]) -> str:
    lines = [f"{s['name']} is {state_of(s)}: {reason_of(s) or s.get('because') or 'no reason known'}" for s in services]
    return f"{what}: " + "\n  ".join(lines) + "\nThe server goes on trying; see `remuda ps`."


class _Progress:
    """One line per service: rewritten on a terminal, printed when it changes elsewhere."""

    SPIN = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"

    def __init__(self, session: Session) -> None:
        self.output = session.output
        self.live: Any = None
        self.told: dict[str, str] = {}
        self.turn = 0
        self.fancy = self.output.err.isatty() and not self.output.quiet

    def show(self, services: list[Json]) -> None:
        lines = [(s, self.text(s)) for s in sorted(services, key=lambda s: str(s["name"]))]
        if not self.fancy:
            for service, text in lines:
                if self.told.get(service["id"]) != text:
                    self.told[service["id"]] = text
                    self.output.say(text)
            return
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        self.turn += 1
        if self.live is None:
            self.live = Live(console=Console(file=self.output.err), refresh_per_second=8, transient=False)
            self.live.start()
        body = Text()
        for service, text in lines:
            mark = "✓" if arrived(service) else "✗" if service.get("blocked") else self.SPIN[self.turn % len(self.SPIN)]
            colour = {"✓": "green", "✗": "red"}.get(mark, "cyan")
            body.append(f"{mark} ", style=colour)
            body.append(text + "\n")
        self.live.update(body)

    def text(self, service: Json) -> str:
        reason = reason_of(service)
        counted = f"{service.get('currentScale') or 0}/{service.get('scale')}"
        return clean(f"{service['name']:<24} {state_of(service):<18} {counted:>7}" + (f"  {reason}" if reason else ""))

    def end(self) -> None:
        if self.live is not None:
            self.live.stop()
            self.live = None
