"""A Galera cluster on this machine, for tests. Root only: the state transfer wants to run as the user ``mysql``."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.support.services import Program, free_ports, listens

PROVIDER = Path("/usr/lib/galera/libgalera_smm.so")


@dataclass
class Galera:
    """A cluster; nodes are counted from 0."""

    folder: Path
    nodes: list[Program] = field(default_factory=list)
    ports: list[int] = field(default_factory=list)

    def sql(self, node: int, statements: str) -> str:
        """Run statements as root on one node."""
        client = [
            "mariadb",
            "--no-defaults",
            "-uroot",
            "-S",
            str(self.folder / f"{node}.sock"),
            "-N",
            "-B",
            "-e",
            statements,
        ]
        return subprocess.run(client, capture_output=True, text=True, timeout=30, check=True).stdout

    def arguments(self, node: int) -> dict[str, Any]:
        """For ``SqlStore.mysql`` (without ``clock``)."""
        return {"host": "127.0.0.1", "port": self.ports[node], "name": "remuda", "user": "remuda", "password": "secret"}


def _command(home: Path, node: int, ports: list[int], seeds: str) -> list[str]:
    sql, group, ist, sst = ports
    first = node == 0
    options = f"gmcast.listen_addr=tcp://127.0.0.1:{group};ist.recv_addr=127.0.0.1:{ist};gcache.size=16M"
    return [
        *("mariadbd", "--no-defaults", "--user=mysql", f"--datadir={home}/data", f"--socket={home.parent}/{node}.sock"),
        *(f"--port={sql}", "--bind-address=127.0.0.1", f"--pid-file={home}/pid", "--skip-name-resolve"),
        *("--innodb-buffer-pool-size=32M", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON"),
        *(f"--wsrep-provider={PROVIDER}", "--wsrep-cluster-name=test", "--wsrep-sst-method=rsync"),
        *(f"--wsrep-cluster-address=gcomm://{'' if first else seeds}", f"--wsrep-node-address=127.0.0.1:{group}"),
        *(f"--wsrep-node-name=n{node}", f"--wsrep-sst-receive-address=127.0.0.1:{sst}"),
        f"--wsrep-provider-options={options}",
        *(["--wsrep-new-cluster"] if first else []),
    ]


@contextlib.contextmanager
def galera(count: int = 2) -> Iterator[Galera]:
    """A cluster with the database and the user ``remuda``."""
    folder = Path(tempfile.mkdtemp(prefix="remuda-galera-"))
    folder.chmod(0o755)
    shutil.chown(folder, "mysql", "mysql")
    ports = free_ports(4 * count)
    cluster = Galera(folder, ports=ports[::4])
    seeds = ",".join(f"127.0.0.1:{port}" for port in ports[1::4])
    try:
        for node in range(count):
            home = folder / str(node)
            (home / "data").mkdir(parents=True)
            for path in (home, home / "data"):
                shutil.chown(path, "mysql", "mysql")
            if node == 0:
                install = ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={home}/data"]
                install += ["--skip-test-db", "--auth-root-authentication-method=normal"]
                subprocess.run(install, check=True, capture_output=True, timeout=120)
            own = ports[4 * node : 4 * node + 4]
            program = Program(
                f"galera{node}", _command(home, node, own, seeds), home, lambda port=own[0]: listens(port)
            )
            cluster.nodes.append(program)
            program.start()
        cluster.sql(
            0,
            "CREATE USER remuda@'%' IDENTIFIED BY 'secret'; CREATE DATABASE remuda; GRANT ALL ON remuda.* TO remuda@'%'",
        )
        yield cluster
    finally:
        for program in cluster.nodes:
            program.kill()
        shutil.rmtree(folder, ignore_errors=True)


def available() -> bool:
    """Can a cluster be started here?"""
    return PROVIDER.exists() and os.geteuid() == 0 and shutil.which("rsync") is not None
