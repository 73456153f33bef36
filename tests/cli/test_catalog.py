"""``remuda catalog``: from a git repository to a running stack and its next version; and without any server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.catalog import FIRST, SECOND, Repository

from .conftest import Run


@pytest.fixture
def ours(run: Run, tmp_path: Path) -> Iterator[Repository]:
    """A catalog of the server, as long as the test runs."""
    repository = Repository(tmp_path / "repository")
    repository.commit(FIRST)
    done = run("catalog", "add", "ours", repository.url, "--branch", "main")
    assert done.returncode == 0, done.stderr
    yield repository
    assert run("catalog", "remove", "ours").returncode == 0


def test_templates_are_listed_and_shown(run: Run, ours: Repository) -> None:
    listed = run("catalog")
    assert listed.returncode == 0, listed.stderr
    assert "ours:shop" in listed.stdout
    assert "ours:old" not in listed.stdout, "it is for older servers"
    assert run("catalog", "ls", "--category", "trade", "-q").stdout.split() == ["ours:shop"]
    shown = run("catalog", "show", "Shop").stdout
    assert "TAG" in shown
    assert "1.7" in shown
    missing = run("catalog", "show", "nobody")
    assert missing.returncode == 3
    assert "there is no template 'nobody'" in missing.stderr


def test_a_template_is_installed_upgraded_and_kept(run: Run, ours: Repository) -> None:
    done = run("catalog", "install", "shop", "--name", "store", "--set", "DB=no")
    assert done.returncode == 0, done.stderr
    assert json.loads(run("inspect", "store/web", "--format", "json").stdout)["launchConfig"]["imageUuid"].endswith(
        "nginx:1.7"
    )
    again = run("catalog", "install", "shop", "--name", "store")
    assert (again.returncode, "already" in again.stderr) == (4, True)
    early = run("catalog", "upgrade", "store")
    assert "has the newest version, v1.0.0" in early.stderr
    ours.commit(SECOND)
    assert run("catalog", "refresh").returncode == 0
    done = run("catalog", "upgrade", "store")
    assert done.returncode == 0, done.stderr
    assert "--confirm" in done.stderr
    assert run("catalog", "upgrade", "store", "--rollback").returncode == 0
    assert run("catalog", "upgrade", "store", "--confirm").returncode == 0
    assert json.loads(run("inspect", "store/web", "--format", "json").stdout)["launchConfig"]["imageUuid"].endswith(
        "nginx:2"
    )
    assert run("rm", "-f", "store").returncode == 0


def test_wrong_answers_are_told_each_and_nothing_is_made(run: Run, ours: Repository, tmp_path: Path) -> None:
    answers = tmp_path / "answers.yml"
    answers.write_text("TAG: ''\nDB: maybe\n")
    done = run("catalog", "install", "ours:shop", "--answers", str(answers))
    assert done.returncode == 4
    assert "TAG: an answer is needed" in done.stderr
    assert "DB: one of yes, no is needed" in done.stderr
    assert "shop" not in run("stacks", "-q").stdout.split()


@pytest.mark.parametrize("text", ["TAG: 9\n", '{"TAG": "9"}', "TAG=9\n"])
def test_a_folder_is_rendered_without_any_server(run: Run, tmp_path: Path, text: str) -> None:
    folder = tmp_path / "version"
    folder.mkdir()
    for path, content in FIRST.items():
        if path.startswith("templates/shop/0/"):
            (folder / path.rpartition("/")[2]).write_text(content)
    answers = tmp_path / "answers"
    answers.write_text(text)
    done = run("catalog", "render", str(folder), "--answers", str(answers), env={"RANCHER_URL": ""})
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["outcome"] == "ok"
    assert told["services"]["web"] == {"kind": "service", "scale": 2, "image": "nginx:9", "network_mode": "managed"}
    assert set(told["services"]) == {"web", "db"}
    files = run("catalog", "render", str(folder), "--set", "DB=no", "--as", "compose").stdout
    assert "mysql" not in files
    (folder / "docker-compose.yml.tpl").write_text("web:\n  image: {{ nobody }}\n")
    broken = run("catalog", "render", str(folder))
    assert broken.returncode == 4
    assert "docker-compose.yml.tpl:2:13" in broken.stderr
    assert json.loads(broken.stdout)["outcome"] == "error"
