"""Secrets on a host: files in memory for as long as their container is wanted, and never anywhere else."""

from __future__ import annotations

import asyncio
import base64
import os
import stat
import subprocess
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import until

from remuda.agent.book import Book
from remuda.agent.runtime import Runtime
from remuda.agent.secrets import FOLDER, Unkept, Vault, filesystem
from remuda.core.spec import LaunchConfig, SecretReference
from remuda.core.wire import Assign, Assignment

VALUE = b"swordfish"
SENT = base64.b64encode(VALUE).decode()
ME = {"uid": str(os.getuid()), "gid": str(os.getgid())}
SPEC = LaunchConfig(
    image_uuid="docker:busybox", secrets=[SecretReference(secret_id="1se1", name="pass", mode="0400", **ME)]
)


class Host:
    """A runtime with a vault below ``root``; its memory is a plain folder there."""

    def __init__(self, root: Path) -> None:
        self.root, self.engine = root, FakeEngine()
        self.files = root / FOLDER.lstrip("/") / "a1"
        self.task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        vault = Vault("a1", self.root, prepare=lambda folder: folder.mkdir(parents=True, exist_ok=True))
        self.runtime = Runtime(self.engine, Book(self.root / "state"), agent="a1", vault=vault)
        self.task = asyncio.create_task(self.runtime.run())
        await until(lambda: self.runtime.ready)

    async def stop(self) -> None:
        if self.task is not None:
            self.task.cancel()
            await asyncio.gather(self.task, return_exceptions=True)

    def assign(self, seq: int = 1, desired: str = "running", spec: LaunchConfig = SPEC, **secrets: str) -> None:
        wish = Assignment(uuid="u1", seq=seq, desired=desired, name="app", spec=spec, secrets=secrets)
        self.runtime.assign(Assign(items=[wish], complete=True, through=seq))

    def message(self) -> str:
        return self.runtime.reports(["u1"])[0].message


@pytest_asyncio.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    made = Host(tmp_path)
    await made.start()
    yield made
    await made.stop()


async def test_the_container_finds_its_secret_with_owner_and_mode_of_its_service(host: Host) -> None:
    host.assign(**{"pass": SENT})
    await until(lambda: host.engine.running("u1"))
    mount = host.engine.of("u1")[0]["HostConfig"]["Mounts"][0]
    assert mount == {"Type": "bind", "Source": f"{FOLDER}/a1/u1", "Target": "/run/secrets", "ReadOnly": True}
    file = host.files / "u1/pass"
    assert file.read_bytes() == VALUE
    assert stat.S_IMODE(file.stat().st_mode) == 0o400
    assert (file.stat().st_uid, file.stat().st_gid) == (os.getuid(), os.getgid())


async def test_a_value_is_never_written_to_the_agents_own_files(host: Host) -> None:
    host.assign(**{"pass": SENT})
    await until(lambda: host.engine.running("u1"))
    host.runtime.book.save()
    kept = b"".join(path.read_bytes() for path in (host.root / "state").iterdir())
    assert b"1se1" in kept
    assert SENT.encode() not in kept
    assert VALUE not in kept


async def test_secrets_go_with_their_container(host: Host) -> None:
    host.assign(**{"pass": SENT})
    await until(lambda: host.engine.running("u1"))
    host.assign(seq=2, desired="removed")
    await until(lambda: not host.engine.of("u1"))
    await until(lambda: not list(host.files.iterdir()), what="its folder is gone")


async def test_a_stopped_container_keeps_its_secrets_and_an_agent_that_starts_anew_finds_them(host: Host) -> None:
    host.assign(**{"pass": SENT})
    await until(lambda: host.engine.running("u1"))
    host.assign(seq=2, desired="stopped")
    await until(lambda: not host.engine.running("u1"))
    await host.stop()
    await host.start()
    host.assign(seq=3)  # without the values: they are here already
    await until(lambda: host.engine.running("u1"))
    assert (host.files / "u1/pass").read_bytes() == VALUE


async def test_after_a_reboot_the_container_waits_until_its_secrets_are_sent_again(host: Host) -> None:
    host.assign(**{"pass": SENT})
    await until(lambda: host.engine.running("u1"))
    await host.stop()
    for path in sorted(host.files.rglob("*"), reverse=True):  # memory is empty, the container ended
        path.rmdir() if path.is_dir() else path.unlink()
    host.engine.end(host.engine.of("u1")[0]["Id"], 137)
    await host.start()
    await until(lambda: "kept in memory only" in host.message())
    assert not host.engine.running("u1")
    host.assign(**{"pass": SENT})  # the same assignment again, as a server sends it when the session begins
    await until(lambda: host.engine.running("u1"))
    assert (host.files / "u1/pass").read_bytes() == VALUE


async def test_a_secret_that_the_server_does_not_give_is_named(host: Host) -> None:
    spec = LaunchConfig(
        image_uuid="docker:busybox",
        secrets=[SecretReference(name="pass", **ME), SecretReference(name="other", **ME)],
    )
    host.assign(spec=spec, **{"pass": SENT})
    await until(lambda: host.message() == "The server does not give the secret other")
    assert not host.engine.of("u1")


@pytest.mark.parametrize("name", ["../../escaped", "a/b", ".."])
async def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    vault = Vault("a1", tmp_path, prepare=lambda folder: folder.mkdir(parents=True, exist_ok=True))
    spec = LaunchConfig(secrets=[SecretReference(name=name, **ME)])
    with pytest.raises(Unkept):
        await vault.provide(Assignment(seq=1, uuid="u1", desired="running", spec=spec, secrets={name: SENT}))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


async def test_where_nothing_lies_in_memory_the_container_says_so_and_no_file_is_written(tmp_path: Path) -> None:
    def refuse(folder: Path) -> None:
        raise Unkept("it does not lie in memory")

    host = Host(tmp_path)
    await host.start()
    host.runtime._vault._prepare = refuse  # type: ignore[union-attr]
    host.assign(**{"pass": SENT})
    await until(lambda: "does not lie in memory" in host.message())
    await host.stop()
    assert not host.engine.of("u1")
    assert not host.files.exists()


def test_the_last_mount_over_a_folder_tells_its_filesystem() -> None:
    table = """\
22 1 253:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
30 22 0:25 / /run rw,nosuid shared:5 - tmpfs tmpfs rw
31 30 0:26 / /run/lock rw shared:6 - tmpfs tmpfs rw
40 30 253:0 /x /run/remuda rw shared:7 - ext4 /dev/vda rw
"""
    assert filesystem(table, "/run/docker") == "tmpfs"
    assert filesystem(table, FOLDER) == "ext4"
    assert filesystem(table, "/running") == "ext4"
    assert filesystem(table + "41 40 0:9 / /run/remuda/secrets rw - tmpfs remuda rw\n", FOLDER) == "tmpfs"


@pytest.mark.real
@pytest.mark.parametrize("root", ["/", "/proc/1/root"], ids=["a process", "a container that sees its host"])
def test_where_run_is_on_a_disk_memory_is_mounted_for_the_secrets(tmp_path: Path, root: str) -> None:
    # a machine of its own: mounts and processes of this namespace are nobody else's
    script = textwrap.dedent(f"""\
        mount --make-rprivate / && mount --bind {tmp_path} /run
        {sys.executable} - <<'END'
        from pathlib import Path
        from remuda.agent.secrets import FOLDER, keep_in_memory
        root = Path("{root}")
        for _ in range(2):
            keep_in_memory(root / FOLDER.lstrip("/"), root)
        END
        grep -c ' /run/remuda/secrets tmpfs ' /proc/mounts
        stat -c %a /run/remuda/secrets
        echo x >/run/remuda/secrets/file""")
    command = ["unshare", "-m", "-p", "-f", "--mount-proc", "sh", "-ec", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout.split()) == (0, ["1", "700"]), done.stderr
    assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing reached the disk"
