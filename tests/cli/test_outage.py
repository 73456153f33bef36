"""The server dies and comes back while commands run."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path

from tests.cli.conftest import COMPOSE, command
from tests.support.server import ROOT, fake_host, remuda_server


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
