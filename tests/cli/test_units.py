"""The parts of the CLI that need no server: configuration, names, tables, options."""

from __future__ import annotations

import io
import stat
from pathlib import Path
from typing import Any

import pytest

from remuda.cli import config
from remuda.cli.client import choose_project
from remuda.cli.commands.change import parse_scale
from remuda.cli.commands.hosts import change_labels
from remuda.cli.commands.up import stack_name
from remuda.cli.config import Settings, read_file, resolve, split_url, write_file
from remuda.cli.errors import NOT_FOUND, REFUSED, USAGE, CliError
from remuda.cli.names import Inventory
from remuda.cli.output import Output, aligned, clean, endpoints_of, reason_of, state_of
from remuda.cli.session import split_globals
from remuda.cli.streams import epoch, parse_log_frame


@pytest.mark.parametrize(
    ("url", "server", "environment"),
    [
        ("host:8080", "http://host:8080", ""),
        ("https://remuda.example.com/", "https://remuda.example.com", ""),
        ("http://h:8080/v1", "http://h:8080", ""),
        ("http://h:8080/v2-beta/projects/1a7/schemas", "http://h:8080", "1a7"),
        ("http://h/prefix/v1/projects/1a7", "http://h/prefix", "1a7"),
        ("http://[::1]:8080", "http://[::1]:8080", ""),
    ],
)
def test_urls_as_people_paste_them(url: str, server: str, environment: str) -> None:
    assert split_url(url) == (server, environment)


@pytest.mark.parametrize("url", ["", "ftp://h", "http://", "://"])
def test_what_is_no_url_is_a_usage_error(url: str) -> None:
    with pytest.raises(CliError) as caught:
        split_url(url)
    assert caught.value.code == USAGE


def test_flags_over_environment_over_file() -> None:
    file = {"url": "http://file", "access_key": "f", "secret_key": "fs", "environment": "fe"}
    environ = {"RANCHER_URL": "http://rancher", "REMUDA_URL": "http://remuda", "RANCHER_ENVIRONMENT": "re"}
    found = resolve({"environment": "flag"}, environ, file)
    assert (found.url, found.access_key, found.environment) == ("http://remuda", "f", "flag")
    assert found.sources["url"] == "REMUDA_URL"
    assert resolve({}, {"RANCHER_URL": "http://h/v1/projects/1a9"}, {}).environment == "1a9"


def test_a_key_from_elsewhere_is_not_paired_with_the_secret_of_the_file() -> None:
    found = resolve({"access_key": "other"}, {}, {"access_key": "f", "secret_key": "fs"})
    assert found.secret_key == ""


def test_the_file_is_private_and_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cli.json"
    write_file(path, {"url": "http://h", "secret_key": "s"})
    write_file(path, {"url": "http://h2", "secret_key": "s"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_file(path) == {"url": "http://h2", "secret_key": "s"}
    assert [p.name for p in path.parent.iterdir()] == ["cli.json"]


def test_a_broken_file_is_told_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "cli.json"
    path.write_text("{")
    with pytest.raises(CliError, match="repair or remove it"):
        read_file(path)


def test_secrets_are_not_shown() -> None:
    assert "s3" not in repr(config.masked(Settings(secret_key="s3")))


def test_global_options_may_stand_anywhere_but_not_in_foreign_words() -> None:
    assert split_globals(["ps", "--url", "u", "-q", "--env=x", "a"]) == (
        {"url": "u", "quiet": "yes", "environment": "x"},
        ["ps", "a"],
    )
    assert split_globals(["--url", "u", "exec", "-it", "web", "sh", "--url", "x", "-q"]) == (
        {"url": "u"},
        ["exec", "-it", "web", "--", "sh", "--url", "x", "-q"],
    )
    assert split_globals(["exec", "web", "--", "ls"]) == ({}, ["exec", "web", "--", "ls"])
    assert split_globals(["logs", "--", "--url"]) == ({}, ["logs", "--", "--url"])
    with pytest.raises(CliError):
        split_globals(["ps", "--url"])


PROJECTS = [{"id": "1a5", "name": "Default"}, {"id": "1a7", "name": "prod"}, {"id": "1a8", "name": "prod"}]


def test_the_environment_in_use() -> None:
    assert choose_project(PROJECTS, "")["id"] == "1a5"
    assert choose_project(PROJECTS[1:2], "")["id"] == "1a7"
    assert choose_project(PROJECTS, "1a8")["id"] == "1a8"
    for projects, wanted, code in ((PROJECTS, "prod", REFUSED), (PROJECTS, "x", NOT_FOUND), ([], "", REFUSED)):
        with pytest.raises(CliError) as caught:
            choose_project(projects, wanted)
        assert caught.value.code == code


THINGS: dict[str, list[dict[str, Any]]] = {
    "environment": [{"id": "1e1", "name": "shop"}, {"id": "1e2", "name": "blog"}],
    "service": [
        {"id": "1s1", "name": "web", "environmentId": "1e1"},
        {"id": "1s2", "name": "web", "environmentId": "1e2"},
        {"id": "1s3", "name": "db", "environmentId": "1e1"},
        {"id": "1s4", "name": "gone", "environmentId": "1e1", "state": "removed"},
    ],
    "container": [
        {"id": "1i1", "name": "shop-web-1", "serviceId": "1s1", "externalId": "abcdef123456"},
        {"id": "1i2", "name": "shop-web-2", "serviceId": "1s1", "createIndex": 2},
        {"id": "1i3", "name": "shop-web-log-2", "serviceId": "1s1", "createIndex": 2},
        {"id": "1i4", "name": "by-hand", "serviceId": None},
    ],
    "host": [{"id": "1h1", "name": "", "hostname": "node1"}],
}


def inventory() -> Inventory:
    return Inventory(lambda kind: [{**r, "type": kind} for r in THINGS[kind]])


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("1s2", "1s2"), ("shop", "1e1"), ("shop/web", "1s1"), ("db", "1s3"), ("shop/web/2", "1i2"), ("shop-web-log-2", "1i3"),
        ("by-hand", "1i4"), ("abcdef123456", "1i1"), ("abcdef", "1i1"), ("node1", "1h1"), ("1h1", "1h1"), ("1st1", None),
    ],
)  # fmt: skip
def test_names_mean_what_people_expect(name: str, identity: str | None) -> None:
    if identity is None:
        with pytest.raises(CliError):
            inventory().find(name)
    else:
        assert inventory().find(name)["id"] == identity


@pytest.mark.parametrize(
    ("name", "code", "words"),
    [
        ("web", REFUSED, "shop/web (1s1), blog/web (1s2)"),
        ("shopp", NOT_FOUND, "did you mean shop?"),
        ("gone", NOT_FOUND, "there is no"),
        ("shop/web/9", NOT_FOUND, "there is no"),
        ("1s9", NOT_FOUND, "there is no"),
        ("1e1", NOT_FOUND, "no service or container"),
    ],
)
def test_what_a_name_cannot_mean_is_said(name: str, code: int, words: str) -> None:
    with pytest.raises(CliError) as caught:
        inventory().find(name, ("service", "container") if name == "1e1" else ("environment", "service", "container"))
    assert caught.value.code == code
    assert words in caught.value.message


def test_containers_come_in_order() -> None:
    found = inventory()
    assert [c["id"] for c in found.containers_of(found.find("shop/web"))] == ["1i1", "1i2", "1i3"]


def test_tables_in_a_pipe_are_plain_aligned_text() -> None:
    out = io.StringIO()
    Output(out=out, err=out).table(("ID", "NAME"), [("1s1", "web"), ("1s10", None)], [])
    assert out.getvalue() == "ID    NAME\n1s1   web\n1s10\n"
    assert aligned(("A",), []) == ["A"]


def test_quiet_gives_ids_and_json_everything() -> None:
    for form, quiet, expected in (("table", True, "1s1\n"), ("json", False, '[\n  {\n    "id": "1s1"\n  }\n]\n')):
        out = io.StringIO()
        Output(form, quiet, out, out).table(("ID",), [("1s1",)], [{"id": "1s1"}])
        assert out.getvalue() == expected


def test_text_from_elsewhere_cannot_play_with_the_terminal() -> None:
    assert clean("a\x1b[31mb\x07\rc") == "a[31mbc"


def test_states_reasons_and_endpoints() -> None:
    service = {
        "state": "active", "healthState": "degraded", "transitioning": "no", "because": "Scaled to 2", "blocked": False,
        "publicEndpoints": [{"ipAddress": "10.0.0.1", "port": 80}, {"ipAddress": "::1", "port": 53, "protocol": "udp"}],
    }  # fmt: skip
    assert state_of(service) == "active (degraded)"
    assert reason_of(service) == ""
    assert reason_of({**service, "blocked": True}) == "Scaled to 2"
    assert reason_of({"transitioning": "yes", "transitioningMessage": "Pulling"}) == "Pulling"
    assert endpoints_of(service) == "10.0.0.1:80, [::1]:53/udp"


def test_log_frames() -> None:
    assert parse_log_frame("01 2026-01-01T12:00:00.5Z hello  you") == ("2026-01-01T12:00:00.5Z", "out", "hello  you")
    assert parse_log_frame("02 no time") == ("", "err", "no time")
    assert parse_log_frame("strange") == ("", "out", "strange")
    assert epoch("1970-01-01T00:01:00.123456789Z") == 60


def test_small_grammars() -> None:
    assert parse_scale("shop/web=3") == ("shop/web", 3)
    for wrong in ("web", "=3", "web=", "web=-1", "web=many"):
        with pytest.raises(CliError):
            parse_scale(wrong)
    assert change_labels({"a": "1", "b": "2"}, ("b-", "c=x=y")) == {"a": "1", "c": "x=y"}
    with pytest.raises(CliError):
        change_labels({}, ("x",))
    assert stack_name(Path("/srv/my app_2")) == "my-app-2"
    with pytest.raises(CliError):
        stack_name(Path("/"))
