"""The server dies and comes back while commands run."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import IO

from tests.cli.conftest import COMPOSE, command
from tests.support.server import ROOT, fake_host, remuda_server, until


def test_up_gets_through_a_server_that_is_restarted_meanwhile(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text(COMPOSE)
    with remuda_server() as server, fake_host(server, "h1"):
        environment = server.environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT / "src"), SECRET="s")

        def start(*words: str) -> subprocess.Popen[str]:
            return subprocess.Popen(
                command(words), cwd=tmp_path, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, text=True,
            )  # fmt: skip

        first = start("up", "-s", "shop")
        assert first.stderr is not None
        said = first.stderr.readline()
        while "services sent" not in said:
            assert first.poll() is None, said
            said = first.stderr.readline()
        server.kill()
        reviver = threading.Thread(target=lambda: (time.sleep(0.5), server.start()))
        reviver.start()
        _, err = first.communicate(timeout=60)
        reviver.join()
        assert first.returncode == 0, err
        done = start("ps", "-q")
        assert len(done.communicate(timeout=30)[0].split()) == 2


def test_following_logs_goes_on_after_the_server_came_back_and_repeats_nothing(tmp_path: Path) -> None:
    (tmp_path / "docker-compose.yml").write_text("db: {image: mysql}\n")
    with remuda_server() as server, fake_host(server, "h1"):
        environment = server.environment(HOME=str(tmp_path), PYTHONPATH=str(ROOT / "src"))
        subprocess.run(command(("up", "-s", "shop")), cwd=tmp_path, env=environment, check=True, timeout=60)
        process = subprocess.Popen(
            command(("logs", "-f", "-t", "db")), cwd=tmp_path, env=environment, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        lines: list[str] = []
        assert process.stdout is not None
        reader = threading.Thread(target=_collect, args=(process.stdout, lines), daemon=True)
        reader.start()
        try:
            until(lambda: len(lines) > 8, 30, "lines before the outage")
            server.kill()
            server.start()
            before = len(lines)
            until(lambda: len(lines) > before + 5, 45, "lines after the outage")
        finally:
            process.kill()
            process.wait(10)
        assert len(lines) == len(set(lines))
        assert lines == sorted(lines, key=lambda line: line.split(" | ", 1)[1][:26])


def _collect(stream: IO[str], lines: list[str]) -> None:
    for line in stream:  # extend() would show nothing before the end
        lines.append(line)  # noqa: PERF402
