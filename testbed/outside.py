"""What an operator has outside Remuda: a MariaDB and a load balancer, on the bed's host ``x``. Debian's programs, real ones.

The load balancer is configured as the installation page asks: TCP on 80 and 443, TCP with the PROXY protocol on 81 and
444, and a check of /ping on every node.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess

from testbed.bed import Bed, X, until

DATABASE = "cattle"
USER = "cattle"
PASSWORD = "it's 100% a $ecret"
"""Awkward on purpose: it passes through shells, scripts and URLs."""


def start_mariadb(bed: Bed) -> str:
    """A MariaDB with an empty database and its user; returns the address. Data survives kill and boot of ``x``."""
    data = bed.disk(X) / "mysql"
    if not (data / "mysql").exists():
        data.mkdir(parents=True, exist_ok=True)
        shutil.chown(data, "mysql", "mysql")
        subprocess.run(
            ["mariadb-install-db", "--no-defaults", "--user=mysql", f"--datadir={data}",
             "--auth-root-authentication-method=normal", "--skip-test-db"],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip
    socket = data / "s.sock"
    log = bed.spawn(
        X, "mariadb", "mariadbd", "--no-defaults", "--user=mysql", f"--datadir={data}", f"--socket={socket}",
        "--bind-address=0.0.0.0", "--port=3306", "--innodb-buffer-pool-size=64M", "--max-connections=400",
        "--skip-name-resolve", "--character-set-server=utf8mb4",
    )  # fmt: skip
    quoted = PASSWORD.replace("'", "''")
    sql = (
        f"CREATE DATABASE IF NOT EXISTS {DATABASE} CHARACTER SET utf8mb4; "
        f"CREATE USER IF NOT EXISTS '{USER}'@'%' IDENTIFIED BY '{quoted}'; "
        f"GRANT ALL ON {DATABASE}.* TO '{USER}'@'%';"
    )
    client = ["mariadb", "--no-defaults", "-uroot", "-S", str(socket)]

    def ready() -> bool:
        done = subprocess.run([*client, "-e", sql], capture_output=True, text=True, timeout=20, check=False)
        if done.returncode:
            raise RuntimeError(done.stderr.strip())
        return True

    until(f"MariaDB answers (log: {log})", ready, 60)
    return bed.ip(X)


def query(bed: Bed, sql: str) -> list[list[str]]:
    """Rows of a statement, as the database's root."""
    command = ["mariadb", "--no-defaults", "-uroot", "-S", str(bed.disk(X) / "mysql" / "s.sock"), "-N", "-B", DATABASE]
    done = subprocess.run([*command, "-e", sql], capture_output=True, text=True, timeout=20, check=True)
    return [line.split("\t") for line in done.stdout.splitlines()]


def start_balancer(bed: Bed, nodes: list[int]) -> str:
    """The load balancer before these nodes; returns its address. Run again, it takes over the new list of nodes."""
    config = bed.disk(X) / "balancer.cfg"
    config.write_text(balancer_config({f"h{node}": bed.ip(node) for node in nodes}, str(bed.disk(X) / "balancer.sock")))
    subprocess.run(["haproxy", "-c", "-q", "-f", str(config)], check=True, capture_output=True, timeout=20)
    if (bed.disk(X) / "run" / "balancer.pid").exists():
        bed.stop(X, "balancer", "USR2")  # the master starts new workers and lets the old ones end
    else:
        bed.spawn(X, "balancer", "haproxy", "-db", "-W", "-f", config)
    return bed.ip(X)


def balancer_config(nodes: dict[str, str], stats: str) -> str:
    """An haproxy configuration: addresses by name. A node that is silent is out of the game in under a second."""
    parts = [
        f"""\
global
  maxconn 4000
  stats socket {stats} mode 600 level admin

defaults
  mode tcp
  timeout connect 400ms
  timeout check 400ms
  timeout client 1h
  timeout server 1h
  retries 3
  option redispatch 1
  option httpchk GET /ping
  http-check expect string pong
  default-server check port 80 inter 250ms fastinter 150ms fall 2 rise 2 on-marked-down shutdown-sessions
"""
    ]
    for port, options in ((80, ""), (443, ""), (81, " send-proxy"), (444, " send-proxy")):
        servers = "".join(f"  server {name} {address}:{port}{options}\n" for name, address in nodes.items())
        parts.append(f"listen port{port}\n  bind :{port}\n  balance roundrobin\n{servers}")
    return "\n".join(parts)


def pong(address: str, port: int = 80, timeout: float = 2.0) -> bool:
    """Does /ping answer through this address, in plain HTTP?"""
    connection = http.client.HTTPConnection(address, port, timeout=timeout)
    with contextlib.closing(connection):
        connection.request("GET", "/ping")
        return b"pong" in connection.getresponse().read()
