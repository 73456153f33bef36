"""The program as people run it, against a real server with two hosts."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.cli.conftest import Run, command
from tests.support.server import PASSWORD, ROOT, USERNAME, RemudaServer


def test_help_is_quick_and_tells_the_exit_codes(run: Run) -> None:
    best = 9.0
    for _ in range(3):
        before = os.times()
        done = run("--help")
        after = os.times()
        spent = (after.children_user - before.children_user) + (after.children_system - before.children_system)
        best = min(best, spent)
    assert done.returncode == 0
    assert "6 timed out" in done.stdout
    assert best < 1.0  # processor time; the goal is half a second on an idle machine


def test_nothing_heavy_is_imported_for_help() -> None:
    heavy = ("httpx2", "aiohttp", "sqlalchemy", "yaml", "websockets", "msgspec")
    code = f"import sys; from remuda.cli.app import build; build(); print([m for m in sys.modules if m in {heavy}])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_up_deploys_waits_and_is_idempotent(shop: Run) -> None:
    listed = shop("ps")
    assert listed.returncode == 0
    assert "shop/web" in listed.stdout
    assert "2/2" in listed.stdout
    before = shop("ps", "shop", "-q").stdout
    again = shop("up", env={"SECRET": "s"})
    assert again.returncode == 0
    assert shop("ps", "shop", "-q").stdout == before
    (service,) = [s for s in json.loads(shop("ps", "--format", "json").stdout) if s["name"] == "db"]
    assert service["launchConfig"]["environment"] == {"PASSWORD": "s"}


def test_up_sends_what_was_written_and_only_the_variables_it_asks_for(shop: Run, home: Path) -> None:
    stack = json.loads(shop("inspect", "shop").stdout)
    assert stack["dockerCompose"] == (home / "docker-compose.yml").read_text()
    assert stack["environment"] == {"SECRET": "s"}


def test_up_replaces_containers_when_the_image_changes(shop: Run) -> None:
    before = set(shop("ps", "shop/web", "-q").stdout.split())
    done = shop("up", env={"SECRET": "s", "TAG": "2"})
    assert done.returncode == 0, done.stderr
    containers = json.loads(shop("ps", "shop/web", "--format", "json").stdout)
    assert {c["imageUuid"] for c in containers} == {"docker:nginx:2"}
    assert not before & {c["id"] for c in containers}


def test_files_that_depend_on_this_machine_are_sent_as_what_they_mean(run: Run, home: Path) -> None:
    (home / "db.env").write_text("A=1\nB=$x\n")
    (home / "local.yml").write_text("db:\n  image: mysql\n  env_file: db.env\n  volumes: ['./data:/data']\n")
    done = run("up", "-f", "local.yml", "-s", "local")
    assert done.returncode == 0, done.stderr
    config = json.loads(run("inspect", "local/db").stdout)["launchConfig"]
    assert config["environment"] == {"A": "1", "B": "$x"}
    assert config["dataVolumes"] == [f"{home}/data:/data"]
    assert run("rm", "local", "-f", "-w").returncode == 0


def test_a_faulty_file_is_refused_here_with_its_place(run: Run, home: Path) -> None:
    (home / "bad.yml").write_text("services:\n  web:\n    imgae: nginx\n")
    done = run("up", "-f", "bad.yml", "-s", "bad")
    assert done.returncode == 4
    assert "bad.yml:3:5: error: imgae is not a setting of a service; did you mean image?" in done.stderr
    assert run("inspect", "bad").returncode == 3


def test_up_without_a_file_says_how_to_name_one(run: Run, tmp_path: Path, home: Path) -> None:
    (home / "docker-compose.yml").unlink()
    done = run("up")
    assert done.returncode == 2
    assert "-f" in done.stderr


def test_what_cannot_be_placed_ends_with_the_reason_and_code_6(run: Run, home: Path) -> None:
    (home / "far.yml").write_text(
        "web:\n  image: nginx\n  labels: {'io.rancher.scheduler.affinity:host_label': moon=yes}\n"
    )
    done = run("up", "-f", "far.yml", "-s", "far", "--wait-timeout", "2")
    assert done.returncode == 6
    assert "moon" in done.stderr
    assert "remuda ps" in done.stderr
    assert run("rm", "far", "-f", "-w").returncode == 0


def test_scale_stop_start_restart_and_wait(shop: Run) -> None:
    assert shop("scale", "web=3", "--wait").returncode == 0
    assert len(shop("ps", "web", "-q").stdout.split()) == 3
    assert shop("scale", "web=1", "--wait").returncode == 0
    assert shop("stop", "db", "--wait").returncode == 0
    assert json.loads(shop("inspect", "shop/db").stdout)["state"] == "inactive"
    assert shop("stop", "db").returncode == 0
    assert shop("start", "db", "--wait").returncode == 0
    assert shop("stop", "shop", "--wait").returncode == 0
    woken = shop("up", env={"SECRET": "s"})
    assert woken.returncode == 0, woken.stderr
    assert "db was stopped; it is started again" in woken.stderr
    assert shop("scale", "web=1", "--wait").returncode == 0
    assert shop("restart", "shop/web", "shop/db/1", "--wait").returncode == 0
    assert shop("wait", "shop/web", "--timeout", "20").returncode == 0
    late = shop("wait", "shop/web", "--state", "inactive", "--timeout", "0.5")
    assert late.returncode == 6
    assert "web is active" in late.stderr


def test_logs_are_merged_by_time_and_tailed(shop: Run) -> None:
    done = shop("logs", "web", "--tail", "2")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == ["4", "4", "5", "5"]
    assert len({line.split(" |")[0] for line in lines}) == 2
    one = shop("logs", "shop/db/1", "-t")
    assert one.stdout.startswith("2026-01-01T12:00:01")
    assert "line 3" in one.stderr


def test_logs_follow_until_interrupted(shop: Run, server: RemudaServer, home: Path) -> None:
    environment = server.environment(HOME=str(home.parent), PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        command(("logs", "-f", "web")),
        cwd=home,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        seen: list[str] = []
        deadline = time.monotonic() + 20
        assert process.stdout is not None
        while sum("live" in line for line in seen) < 6:
            assert time.monotonic() < deadline, seen
            if select.select([process.stdout], [], [], 1)[0]:
                seen.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 130
    finally:
        process.kill()
        process.communicate()
    assert len(seen) == len(set(seen))


def test_exec_passes_output_input_and_the_exit_code(shop: Run) -> None:
    done = shop("exec", "web", "sh", "-c", "echo out; echo err >&2; exit 7")
    assert done.returncode == 7
    assert "out\n" in done.stdout
    piped = shop("exec", "-i", "shop/db/1", "cat", stdin="hello\nyou\n")
    assert (piped.returncode, piped.stdout) == (0, "hello\nyou\n")
    assert shop("exec", "web", "--", "sh", "-c", "exit 0").returncode == 0
    assert shop("exec", "web", "echo", "--help", "-q").stdout == "--help -q\n"
    refused = shop("exec", "-it", "web", "sh")
    assert refused.returncode == 2
    assert "terminal" in refused.stderr


def test_exec_with_a_terminal_has_its_size_and_echo(shop: Run, server: RemudaServer, home: Path) -> None:
    ours, theirs = pty.openpty()
    environment = server.environment(HOME=str(home.parent), PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        command(("exec", "-it", "web", "sh")), cwd=home, env=environment, stdin=theirs, stdout=theirs, stderr=theirs,
        start_new_session=True, close_fds=True,
    )  # fmt: skip
    os.close(theirs)
    try:
        heard = b""
        os.write(ours, b"stty size; tty; exit 5\n")
        deadline = time.monotonic() + 20
        while process.poll() is None:
            assert time.monotonic() < deadline, heard
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    heard += os.read(ours, 4096)
                except OSError:
                    break
        assert process.wait(10) == 5
        assert b"/dev/pts/" in heard
    finally:
        process.kill()
        os.close(ours)


def test_hosts_are_listed_labelled_and_taken_out_of_use(run: Run) -> None:
    listed = run("hosts")
    assert "h1" in listed.stdout
    assert "active" in listed.stdout
    assert run("hosts", "label", "h1", "rack=a").stdout == "rack=a\n"
    assert run("hosts", "label", "h1", "rack-").stdout == ""
    assert run("hosts", "deactivate", "h1").returncode == 0
    assert json.loads(run("inspect", "h1").stdout)["state"] == "inactive"
    assert run("hosts", "deactivate", "h1").returncode == 0
    assert run("hosts", "activate", "h1").returncode == 0
    command_to_run = run("hosts", "add")
    assert "docker run" in command_to_run.stdout
    assert run("hosts", "add").stdout == command_to_run.stdout


def test_volumes_are_made_used_kept_and_removed(run: Run, home: Path) -> None:
    made = run("volume", "create", "data", "--opt", "type=tmpfs", "--opt", "device=tmpfs")
    assert made.returncode == 0, made.stderr
    assert made.stdout.startswith("1v")
    assert "inactive" in run("volume").stdout
    (home / "docker-compose.yml").write_text(
        "services:\n  db:\n    image: pg\n    volumes: ['data:/var']\nvolumes:\n  data: {external: true}\n"
    )
    assert run("up", "--stack", "keeper").returncode == 0

    def told() -> str:
        return run("volume", "ls").stdout

    deadline = time.monotonic() + 20
    while "keeper_db_1:/var" not in told():
        assert time.monotonic() < deadline, told()
        time.sleep(0.2)
    refused = run("volume", "rm", "data", "--force")
    assert (refused.returncode, "in use by keeper_db_1" in refused.stderr) == (4, True), refused
    assert run("rm", "keeper", "--force", "--wait").returncode == 0
    gone = run("volume", "rm", "data", "--force", "--wait")
    assert gone.returncode == 0, gone.stderr
    assert "data" not in told()
    missing = run("volume", "rm", "data", "--force")
    assert "there is no volume 'data'" in missing.stderr


def test_environments_are_made_used_and_removed(run: Run) -> None:
    made = run("env", "create", "other").stdout.strip()
    assert made.startswith("1a")
    assert run("ps", "--env", "other").returncode == 0
    assert run("env", "use", "other").returncode == 0
    assert f"*  {made}" in run("env").stdout
    assert run("env", "rm", "other").returncode == 2
    assert run("env", "rm", "other", "--force").returncode == 0
    assert run("ps").returncode == 0
    assert run("ps", "--env", "nowhere").returncode == 3


def test_login_keeps_a_key_that_works(run: Run, server: RemudaServer, home: Path) -> None:
    nothing = {"RANCHER_URL": "", "RANCHER_ACCESS_KEY": "", "RANCHER_SECRET_KEY": ""}
    wrong = run("login", server.url, "-u", USERNAME, "--password-stdin", env=nothing, stdin="wrong\n")
    assert wrong.returncode == 4
    done = run("login", server.url, "-u", USERNAME, "--password-stdin", env=nothing, stdin=f"{PASSWORD}\n")
    assert done.returncode == 0, done.stderr
    path = home.parent / ".remuda" / "cli.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert PASSWORD not in path.read_text()
    assert run("hosts", env=nothing).returncode == 0
    shown = run("config", env=nothing).stdout
    assert json.loads(path.read_text())["secretKey"] not in shown


@pytest.mark.parametrize(
    ("words", "env", "code", "said"),
    [
        (("ps",), {"RANCHER_URL": "http://127.0.0.1:9"}, 5, "cannot reach http://127.0.0.1:9: connection refused"),
        (("ps",), {"RANCHER_URL": ""}, 2, "remuda login"),
        (("ps",), {"RANCHER_SECRET_KEY": "wrong"}, 4, "does not accept these keys"),
        (("ps", "nowhere"), {}, 3, "there is no"),
        (("pss",), {}, 2, "ps"),
        (("scale", "web"), {}, 2, "web=3"),
        (("wait",), {}, 2, "say what"),
        (("ps", "--format", "xml"), {}, 2, "table or json"),
        (("ha", "script"), {}, 4, "embedded database"),
    ],
)
def test_every_refusal_is_one_sentence_and_a_code(
    run: Run, words: tuple[str, ...], env: dict[str, str], code: int, said: str
) -> None:
    done = run(*words, env=env)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_export_reads_back_as_the_same_services(shop: Run, home: Path) -> None:
    assert shop("export", "shop", "--dir", str(home / "out")).returncode == 0
    checked = shop("up", "--check", "-f", str(home / "out" / "docker-compose.yml"))
    assert checked.returncode == 0, checked.stderr
    before = shop("ps", "shop", "-q").stdout
    assert shop("up", "-s", "shop", "-f", str(home / "out" / "docker-compose.yml")).returncode == 0
    assert shop("ps", "shop", "-q").stdout == before


def test_rm_asks_first_and_waits_until_it_is_gone(shop: Run) -> None:
    asked = shop("rm", "shop")
    assert asked.returncode == 2
    assert "--force" in asked.stderr
    assert shop("inspect", "shop").returncode == 0
    gone = shop("rm", "shop", "--force", "--wait")
    assert gone.returncode == 0, gone.stderr
    assert shop("inspect", "shop").returncode == 3
    assert shop("ps", "-q").stdout == ""


def test_events_tell_what_changes(shop: Run, server: RemudaServer, home: Path) -> None:
    environment = server.environment(HOME=str(home.parent), PYTHONPATH=str(ROOT / "src"))
    process = subprocess.Popen(
        command(("events", "--type", "service", "--format", "json")), cwd=home, env=environment,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        deadline = time.monotonic() + 20
        count = 1
        while not select.select([process.stdout], [], [], 1.0)[0]:
            assert time.monotonic() < deadline
            count = 3 - count
            shop("scale", f"web={count}")
        event = json.loads(process.stdout.readline())
        assert event["resourceType"] == "service"
        assert event["data"]["resource"]["name"] == "web"
    finally:
        process.kill()
        process.communicate()
