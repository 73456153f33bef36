"""Where the server is and who asks: flags over environment variables over ``~/.remuda/cli.json``.

The file holds a secret key, so it is written with mode 0600 and replaced in one step.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from remuda.cli.errors import REFUSED, USAGE, CliError

FIELDS = {
    "url": "URL",
    "access_key": "ACCESS_KEY",
    "secret_key": "SECRET_KEY",
    "environment": "ENVIRONMENT",
    "ca": "CA",
}
_JSON = {
    "url": "url",
    "access_key": "accessKey",
    "secret_key": "secretKey",
    "environment": "environment",
    "ca": "ca",
}


@dataclass(frozen=True)
class Settings:
    """What a command needs to talk to a server. ``sources`` says where each value came from."""

    url: str = ""
    access_key: str = ""
    secret_key: str = ""
    environment: str = ""
    ca: str = ""
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def server(self) -> str:
        """Scheme and address, without a path: ``http://host:8080``."""
        return split_url(self.url)[0]


def split_url(url: str) -> tuple[str, str]:
    """(server, environment id named in the path). Accepts what people paste: ``host:8080``, ``.../v1/projects/1a5``."""
    text = url.strip()
    if not text:
        raise CliError("no server is known: run `remuda login URL`, or set RANCHER_URL or --url", USAGE)
    parts = urlsplit(text if "://" in text else f"http://{text}")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise CliError(f"{url!r} is not the URL of a server, such as http://server:8080", USAGE)
    segments = [s for s in parts.path.split("/") if s]
    environment = ""
    for version in ("v1", "v2-beta", "v1-catalog", "v3"):
        if version in segments:
            at = segments.index(version)
            rest = segments[at + 1 :]
            if len(rest) > 1 and rest[0].lower() == "projects":
                environment = rest[1]
            segments = segments[:at]
            break
    path = "/".join(segments)
    return f"{parts.scheme}://{parts.netloc}" + (f"/{path}" if path else ""), environment


def config_path(environ: Mapping[str, str]) -> Path:
    """The configuration file; REMUDA_CLIENT_CONFIG or RANCHER_CLIENT_CONFIG name another."""
    chosen = environ.get("REMUDA_CLIENT_CONFIG") or environ.get("RANCHER_CLIENT_CONFIG")
    return Path(chosen) if chosen else Path(environ.get("HOME") or "~").expanduser() / ".remuda" / "cli.json"


def read_file(path: Path) -> dict[str, str]:
    """The file's values under our names; nothing when there is no file."""
    try:
        found = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CliError(f"cannot read {path}: {error.strerror}", REFUSED) from None
    except ValueError:
        raise CliError(f"{path} is not valid JSON: repair or remove it, then run `remuda login URL`", REFUSED) from None
    if not isinstance(found, dict):
        raise CliError(f"{path} is not a configuration: remove it, then run `remuda login URL`", REFUSED)
    return {ours: str(found[theirs]) for ours, theirs in _JSON.items() if found.get(theirs)}


def write_file(path: Path, values: Mapping[str, str]) -> None:
    """Replace the file; nobody else may read it at any moment."""
    document = {_JSON[name]: value for name, value in values.items() if value}
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        handle = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(json.dumps(document, indent=2) + "\n")
        scratch.replace(path)
    except OSError as error:
        raise CliError(f"cannot write {path}: {error.strerror}", REFUSED) from None


def resolve(flags: Mapping[str, str], environ: Mapping[str, str], file: Mapping[str, str]) -> Settings:
    """Flags over REMUDA_* over RANCHER_* over the file."""
    values: dict[str, str] = {}
    sources: dict[str, str] = {}
    for name, suffix in FIELDS.items():
        for source, value in (
            ("flag", flags.get(name)),
            (f"REMUDA_{suffix}", environ.get(f"REMUDA_{suffix}")),
            (f"RANCHER_{suffix}", environ.get(f"RANCHER_{suffix}")),
            ("file", file.get(name)),
        ):
            if value:
                values[name], sources[name] = value, source
                break
    if "access_key" in sources and sources.get("secret_key") == "file" != sources["access_key"]:
        values.pop("secret_key")
        sources.pop("secret_key")
    if values.get("url") and "environment" not in values:
        environment = split_url(values["url"])[1]
        if environment:
            values["environment"], sources["environment"] = environment, sources["url"]
    return Settings(**values, sources=sources)


def masked(settings: Settings) -> Settings:
    """The same, fit to be shown."""
    return replace(settings, secret_key="*" * 8 if settings.secret_key else "")
