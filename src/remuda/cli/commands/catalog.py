"""``remuda catalog``: templates of stacks in the server's catalogs or a folder; launched, and brought to newer versions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from remuda.cli.client import Api, Json
from remuda.cli.commands.up import find_stack, follow
from remuda.cli.errors import FAILED, NOT_FOUND, REFUSED, USAGE, CliError
from remuda.cli.output import clean, reason_of
from remuda.cli.session import Session, current, read_text, wait_until

app = App(
    name="catalog",
    group="Stacks",
    help="Catalogs: ls (the default), show, install, upgrade, add, remove, refresh, render.",
)
ROOT = "/v1-catalog"

Answers = Annotated[str, Parameter(name=["--answers", "-a"])]
Set = Annotated[list[str] | None, Parameter(name=["--set", "-s"])]


@app.default
@app.command(name="ls")
def list_(*, search: str = "", category: str = "", catalog: str = "") -> None:
    """List templates.

    Parameters
    ----------
    search
        Only those with this text in their name, folder or description.
    category
        Only those of this category.
    catalog
        Only those of this catalog.
    """
    session = current()
    wanted = {"search": search, "category": category, "catalogId": catalog}
    found = _get(session.api, "templates", {name: value for name, value in wanted.items() if value})["data"]
    rows = [(one["id"], one["name"], one["category"], one["defaultVersion"], one["description"]) for one in found]
    session.output.table(("ID", "NAME", "CATEGORY", "VERSION", "DESCRIPTION"), rows, found)
    for one in _get(session.api, "catalogs")["data"]:
        if one["transitioningMessage"]:
            session.output.say(f"the catalog {one['id']} has no news: {one['transitioningMessage']}")


@app.command
def show(name: str, /, *, version: str = "") -> None:
    """Show a template: its versions, its questions and what their answers are by default.

    Parameters
    ----------
    name
        Its id (library:wordpress), or its name where only one has it; with :REVISION for a version.
    version
        The version to show; the default one otherwise.
    """
    session = current()
    template, found = _version(session.api, name, version)
    if session.output.form == "json":
        session.output.document(found)
        return
    say = session.output.line
    say(f"{template['name']} ({template['id']}) {found['version']}")
    say(clean(template["description"]))
    say(f"Versions: {', '.join(template['versionLinks'])}")
    rows = [
        (q["variable"], q["type"], "yes" if q["required"] else "", q["default"], q["label"] or q["description"])
        for q in found["questions"]
    ]
    if rows:
        say()
        session.output.table(("QUESTION", "TYPE", "REQUIRED", "DEFAULT", "MEANING"), rows, found["questions"])


@app.command
def install(
    template: str,
    /,
    *,
    name: str = "",
    version: str = "",
    answers: Answers = "",
    set_: Set = None,
    start: Annotated[bool, Parameter(negative="--no-start")] = True,
    detach: Annotated[bool, Parameter(name=["--detach", "-d"], negative="")] = False,
    wait_timeout: float = 300,
) -> None:
    """Make a stack of a template and wait until it runs.

    Parameters
    ----------
    template
        The template's id or name; with :REVISION for a version.
    name
        The stack's name; the template's folder otherwise.
    version
        A version of the template; the default one otherwise.
    answers
        A file with answers, as YAML, JSON or NAME=VALUE lines.
    set_
        An answer, NAME=VALUE; may be given several times.
    start
        Start the services.
    detach
        Do not wait.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    shown, found = _version(session.api, template, version)
    stack_name = name or shown["folderName"]
    if find_stack(session.api, stack_name) is not None:
        raise CliError(f"there is a stack {stack_name!r} already: choose another --name, or upgrade that one", REFUSED)
    body = _body(found, _answered(found, {}, answers, set_))
    made = session.api.create("environment", {"name": stack_name, "startOnCreate": start, **body})
    session.output.say(f"stack {stack_name} ({made['id']}) of {found['id']}, version {found['version']}")
    if start and not detach:
        rows = session.api.fetch("service", environmentId=made["id"])
        follow(session, made, [str(row["name"]) for row in rows], wait_timeout)
    elif session.output.form == "json":
        session.output.document(made)


@app.command
def upgrade(
    stack: str,
    /,
    *,
    version: str = "",
    answers: Answers = "",
    set_: Set = None,
    confirm: Annotated[bool, Parameter(negative="")] = False,
    rollback: Annotated[bool, Parameter(negative="")] = False,
    wait_timeout: float = 300,
) -> None:
    """Bring a stack to another version of its template: then --confirm to keep it, or --rollback.

    Parameters
    ----------
    stack
        The stack's name or id.
    version
        The version to go to; the newest one that may follow otherwise.
    answers
        A file with answers to what is new or to be changed.
    set_
        An answer, NAME=VALUE; may be given several times.
    confirm
        Finish an upgrade, at once or the one that waits for it.
    rollback
        Undo the upgrade that waits for being finished.
    wait_timeout
        Seconds until giving up with exit code 6.
    """
    session = current()
    row = session.names.find(stack, ("environment",))
    if confirm and rollback:
        raise CliError("--confirm and --rollback exclude each other", USAGE)
    if rollback or (confirm and row.get("state") == "upgraded"):
        _settle(session, row, "rollback" if rollback else "finishupgrade", "active", wait_timeout)
        return
    found = _next(session.api, row, version)
    body = _body(found, _answered(found, row.get("environment") or {}, answers, set_))
    session.api.action(row, "upgrade", body)
    session.output.say(f"{row['name']} goes to {found['version']}")
    _await(session, row, "upgraded", wait_timeout)
    if confirm:
        _settle(session, row, "finishupgrade", "active", wait_timeout)
    else:
        session.output.say(f"it runs; keep it with `remuda catalog upgrade {row['name']} --confirm`, or --rollback")


@app.command
def add(name: str, url: str, /, *, branch: str = "") -> None:
    """Give the installation another catalog, and fetch it. For administrators.

    Parameters
    ----------
    name
        What it is called.
    url
        The address of its git repository.
    branch
        A branch; the repository's default one otherwise.
    """
    current().api.request("POST", f"{ROOT}/catalogs", {"name": name, "url": url, "branch": branch})
    refresh()


@app.command
def remove(name: str, /) -> None:
    """Take a catalog away. Stacks that were made from it stay as they are. For administrators."""
    current().api.request("DELETE", f"{ROOT}/catalogs/{name}")
    current().output.say(f"the catalog {name} is removed")


@app.command
def refresh() -> None:
    """Look for news in all catalogs now."""
    session = current()
    found = session.api.request("POST", f"{ROOT}/catalogs", {}, params={"action": "refresh"}, repeat=True)["data"]
    rows = [(one["id"], one["url"], one["branch"], one["commit"][:12], one["transitioningMessage"]) for one in found]
    session.output.table(("NAME", "URL", "BRANCH", "COMMIT", "PROBLEM"), rows, found)


@app.command
def render(
    folder: str,
    /,
    *,
    answers: Answers = "",
    set_: Set = None,
    stack: str = "mystack",
    form: Annotated[str, Parameter(name="--as")] = "normalized",
) -> None:
    """Show what a template's version in a folder would launch; asks no server.

    Parameters
    ----------
    folder
        The folder of one version: docker-compose.yml (or .tpl) and rancher-compose.yml.
    answers
        A file with answers.
    set_
        An answer, NAME=VALUE; may be given several times.
    stack
        The stack's name.
    form
        normalized (JSON), or compose (the files with answers filled in).
    """
    from remuda import compose
    from remuda.catalog.index import stack_files
    from remuda.catalog.model import Version
    from remuda.catalog.normal import normal
    from remuda.catalog.questions import complete, questions_of

    output = current().output
    place = Path(folder)
    if not place.is_dir():
        raise CliError(f"there is no folder {folder}", NOT_FOUND)
    version = Version(revision="", folder=".", files=[one.name for one in place.iterdir() if one.is_file()])
    docker, docker_text, rancher, rancher_text = stack_files(version, lambda path: (place / path).read_text())
    if not docker:
        raise CliError(f"{folder} holds no docker-compose file", NOT_FOUND)
    given = complete(questions_of(rancher_text), _given(answers, set_))
    project = compose.load(
        docker_text, rancher_text, environment=given, stack_name=stack, names=(docker, rancher or "rancher-compose.yml")
    )
    for problem in project.problems:
        output.say(clean(str(problem)))
    if project.errors:
        if form == "normalized":
            output.document({"outcome": "error", "reason": "; ".join(map(str, project.errors))})
        raise CliError("the template cannot be launched with these answers", REFUSED)
    if form == "compose":
        for text in compose.dump(project.services, project.volumes, stack):
            sys.stdout.write(text)
        return
    try:
        output.document({"outcome": "ok", **normal(project)})
    except ValueError as error:
        raise CliError(str(error), REFUSED) from None


# -- what they share ------------------------------------------------------------------------------------------------
def _get(api: Api, path: str, params: Json | None = None) -> Json:
    found: Json = api.request("GET", f"{ROOT}/{path}", params=params)
    return found


def _version(api: Api, name: str, version: str) -> tuple[Json, Json]:
    """A template and one of its versions."""
    template, revision = _template(api, name)
    links = template["versionLinks"]
    if version:
        if version not in links:
            raise CliError(f"{template['id']} has no version {version}; it has {', '.join(links)}", NOT_FOUND)
        wanted = links[version].rpartition("/")[2]
    else:
        wanted = f"{template['id']}:{revision}" if revision else template["defaultTemplateVersionId"]
    return template, _get(api, f"templateversions/{wanted}")


def _template(api: Api, name: str) -> tuple[Json, str]:
    """By id, folder or name; and the revision that was named with it."""
    listed = _get(api, "templates")["data"]
    for told, revision in ((name, ""), (name.rpartition(":")[0], name.rpartition(":")[2])):
        same = [
            one for one in listed
            if told and told.lower() in (one["id"].lower(), one["folderName"].lower(), one["name"].lower())
        ]  # fmt: skip
        if len(same) > 1:
            raise CliError(f"{told!r} is in several catalogs: {', '.join(one['id'] for one in same)}", REFUSED)
        if same:
            return same[0], revision
    raise CliError(f"there is no template {name!r}; see `remuda catalog ls`", NOT_FOUND)


def _next(api: Api, stack: Json, version: str) -> Json:
    """The version that a stack goes to."""
    source = str(stack.get("externalId") or "")
    if not source.startswith("catalog://"):
        raise CliError(f"{stack['name']} was not made from a catalog", REFUSED)
    now = _get(api, f"templateversions/{source.removeprefix('catalog://')}")
    links = now["upgradeVersionLinks"]
    if version and version not in links:
        raise CliError(f"{now['version']} cannot go to {version}; it can go to {', '.join(links) or 'none'}", REFUSED)
    if not links:
        raise CliError(f"{stack['name']} has the newest version, {now['version']}", REFUSED)
    from remuda.catalog.versions import key

    return _get(api, f"templateversions/{links[version or max(links, key=key)].rpartition('/')[2]}")


def _given(path: str, pairs: list[str] | None) -> dict[str, str]:
    """Answers of a file and of the command line, the latter over the former."""
    from remuda import compose
    from remuda.compose.nodes import Report
    from remuda.compose.yamlread import canonical, read

    found: dict[str, str] = {}
    if path:
        text = read_text(path)
        report = Report()
        node = read(text, path, report)
        if node is not None and node.is_map:
            found = {name: canonical(value.value) for name, value in node.items()}
        elif node is not None and "=" in text:
            found = compose.parse_env(text, {})
        elif text.strip():
            told = "; ".join(str(problem) for problem in report.problems) or "it holds no answers"
            raise CliError(f"{path}: {told}", REFUSED)
    for pair in pairs or []:
        name, sign, value = pair.partition("=")
        if not (name and sign):
            raise CliError(f"--set is NAME=VALUE, not {pair!r}", USAGE)
        found[name] = value
    return found


def _answered(version: Json, before: Json, path: str, pairs: list[str] | None) -> dict[str, str]:
    """All answers; ends with exit code 4 when one will not do."""
    import msgspec

    from remuda.catalog.model import Question
    from remuda.catalog.questions import complete, problems

    questions = msgspec.convert(version["questions"], list[Question])
    answers = complete(questions, {**{name: str(value) for name, value in before.items()}, **_given(path, pairs)})
    wrong = problems(questions, answers)
    if wrong:
        told = "\n  ".join(f"{name}: {message}" for name, message in wrong.items())
        raise CliError(f"nothing was launched:\n  {told}\nAnswer with --set NAME=VALUE or --answers FILE.", REFUSED)
    return answers


def _body(version: Json, answers: dict[str, str]) -> Json:
    """The stack as the API wants it."""
    files: dict[str, Any] = version["files"]
    order = ("docker-compose.yml", "docker-compose.yml.tpl", "compose.yml", "compose.yml.tpl")
    rancher = ("rancher-compose.yml", "rancher-compose.yml.tpl")
    return {
        "dockerCompose": next((files[name] for name in order if files.get(name, "").strip()), ""),
        "rancherCompose": next((files[name] for name in rancher if files.get(name, "").strip()), ""),
        "environment": answers,
        "externalId": version["externalId"],
    }


def _settle(session: Session, row: Json, action: str, state: str, seconds: float) -> None:
    session.api.action(row, action, {})
    _await(session, row, state, seconds)
    session.output.say(f"{row['name']}: {'finished' if action == 'finishupgrade' else 'as it was before'}")


def _await(session: Session, row: Json, state: str, seconds: float) -> None:
    """Until a stack is in a state."""
    seen: Json = {}

    def look() -> bool:
        nonlocal seen
        seen = session.api.get("environment", row["id"]) or {}
        if seen.get("state") == "error":
            raise CliError(f"{row['name']}: {reason_of(seen)}", FAILED)
        return bool(seen.get("state") == state)

    wait_until(look, seconds, lambda: f"{row['name']} is {seen.get('state')}, not {state}, after {seconds:g} s")
