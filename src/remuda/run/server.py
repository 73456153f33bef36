"""Compose one server: the only place that knows which adapters it runs on.

Alone: SQLite, leases and bus in the process. In a cluster: MySQL, ZooKeeper, Redis. The rooms between see no difference.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import gc
import os
import secrets
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec
import structlog
import uvicorn

import remuda
from remuda.adapters.crypto.keyring import FileKeyring
from remuda.adapters.git import GitCommand
from remuda.adapters.identity import LoginProviders
from remuda.adapters.memory.bus import MemoryBus
from remuda.adapters.memory.clock import SystemClock
from remuda.adapters.memory.leases import MemoryCluster
from remuda.adapters.sql.store import SqlStore
from remuda.api.entry import plant
from remuda.api.routes import application
from remuda.api.server import Api
from remuda.api.values import SettingValues
from remuda.control.catalogs import Catalogs
from remuda.control.plane import ControlPlane
from remuda.ports.bus import Bus
from remuda.ports.leases import Leases, ServerInfo
from remuda.ports.store import StoreError
from remuda.run import local_agent, logs
from remuda.run.cluster import HaCluster
from remuda.run.peers import PeerList
from remuda.run.rotation import keep_digests
from remuda.run.settings import Database, ServerSettings, SettingsError, from_environment

log = structlog.get_logger()

POOL = 20
"""Database connections of one server; 50 are advised per node, and migrations and supervisors need some."""
RANCHER_VERSION = "v1.6.30"
"""What 1.x clients take us for; they choose their behaviour by it."""
DATABASE_PATIENCE = 120.0
WS_PING_SECONDS, WS_PONG_SECONDS = 20.0, 40.0
"""Whoever does not answer a WebSocket's pings is gone, though nobody said so: clients of 1.x answer while they read."""

_HELP = """\
Run a Remuda server: the API, the web interface and the control plane, on one port.

Alone it keeps everything in one folder (SQLite). With CATTLE_DB_CATTLE_MYSQL_HOST, _PORT, _NAME and
CATTLE_DB_CATTLE_USERNAME, _PASSWORD it uses an external MySQL or MariaDB, which high availability needs.

First run: open http://<this machine>:8080 and create the administrator with the setup secret that is printed below
(also in the file setup-secret of the data folder), or run 'remuda admin init'.
"""


def arguments(argv: Sequence[str]) -> ServerSettings:
    """Flags over environment."""
    base = from_environment()
    parser = argparse.ArgumentParser(
        prog="remuda server", description=_HELP, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, default=base.data, help=f"folder for data and keys (now {base.data})")
    parser.add_argument("--port", type=int, default=base.listen_port, help="port for everything (now %(default)s)")
    parser.add_argument("--host", default=base.listen_host, help="address to listen on (now %(default)s)")
    parser.add_argument("--log", choices=("text", "json"), default=base.log, help="form of the log lines")
    parser.add_argument("--db-host", default=base.database.host, help="MySQL/MariaDB host (empty: SQLite)")
    parser.add_argument("--db-port", type=int, default=base.database.port)
    parser.add_argument("--db-name", default=base.database.name)
    parser.add_argument("--db-user", default=base.database.user)
    parser.add_argument(
        "--db-pass", default=None, help="better in CATTLE_DB_CATTLE_PASSWORD: flags are seen by everybody"
    )
    parser.add_argument(
        "--with-local-agent", action="store_true", help="make this machine the first Docker host if Docker answers"
    )
    parser.add_argument(
        "--simulated-hosts", action="store_true", default=base.simulated_hosts,
        help="for tests only: agents with the uri sim://... are hosts that this server plays itself",
    )  # fmt: skip
    told = parser.parse_args(argv)
    if not 0 <= told.port < 65536:
        parser.error("--port must be 0 to 65535")
    database = Database(
        host=told.db_host,
        port=told.db_port,
        name=told.db_name,
        user=told.db_user,
        password=base.database.password if told.db_pass is None else told.db_pass,
    )
    return msgspec.structs.replace(
        base,
        data=told.data,
        listen_host=told.host,
        listen_port=told.port,
        log=told.log,
        database=database,
        local_agent=told.with_local_agent,
        simulated_hosts=told.simulated_hosts,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command. Returns the exit code."""
    try:
        settings = arguments(sys.argv[1:] if argv is None else argv)
        logs.configure(settings.log)
        os.umask(0o077)  # the database, its journal and the keys are nobody else's
        _usable(settings.data)
        runner = asyncio.Runner(loop_factory=_loop)
        with runner:
            return runner.run(serve(settings))
    except (SettingsError, StoreError, ValueError) as problem:
        print(f"remuda server: {problem}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _loop() -> asyncio.AbstractEventLoop:
    import uvloop  # not on every platform, and slow to import where it is not wanted

    return uvloop.new_event_loop()


def _usable(data: Path) -> None:
    try:
        data.mkdir(parents=True, exist_ok=True)
        probe = data / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as problem:
        raise SettingsError(
            f"cannot write to the data folder {data} ({problem.strerror}): choose another with --data or run as root"
        ) from None


async def _open_store(settings: ServerSettings, keyring: FileKeyring) -> SqlStore:
    database = settings.database
    clock = SystemClock()
    if not database.host:
        store = SqlStore.sqlite(str(settings.data / "remuda.db"), clock=clock)
        await store.migrate()
        return store
    store = await SqlStore.mysql(
        host=database.host,
        port=database.port,
        name=database.name,
        user=database.user,
        password=database.password,
        clock=clock,
        pool=POOL,
    )
    await _migrate_patiently(store)
    return store


async def _migrate_patiently(store: SqlStore) -> None:
    """A database that is still starting is waited for; one that refuses us is not."""
    deadline = asyncio.get_running_loop().time() + DATABASE_PATIENCE
    while True:
        try:
            await store.migrate()
            return
        except StoreError as problem:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                raise
            log.warning("waiting for the database", problem=str(problem), seconds_left=round(left))
            await asyncio.sleep(min(2.0, left))


async def _coordination(settings: ServerSettings, store: SqlStore) -> tuple[Leases, Bus, PeerList | None]:
    peers = PeerList.of(settings)
    if peers is None:
        cluster = MemoryCluster(SystemClock())
        cluster.raise_floor(await store.highest_fence())
        return cluster.leases(), MemoryBus(), None
    leases = await peers.leases(store.highest_fence)
    return leases, await peers.bus(), peers


def _static() -> Path:
    return Path(remuda.__file__).parent / "static"


async def serve(settings: ServerSettings) -> int:
    """Run until told to stop."""
    keyring = FileKeyring.load(settings.key_file)
    settings = _opened(settings, keyring)
    store = await _open_store(settings, keyring)
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(store.close)
        leases, bus, peers = await _coordination(settings, store)
        stack.push_async_callback(bus.close)
        stack.push_async_callback(leases.close)
        info = ServerInfo(
            server_id=secrets.token_hex(6),
            node=settings.node,
            address=settings.node_address or socket.gethostname(),
            version=remuda.__version__,
        )
        await plant(store)
        await keep_digests(store, keyring)
        plane = ControlPlane(store, leases, bus, SystemClock(), info, keyring)
        values = _setting_values(settings)
        api = Api(
            store=store,
            plane=plane,
            leases=leases,
            keyring=keyring,
            cluster=HaCluster(settings.database, keyring),
            settings=values,
            version=remuda.__version__,
            static=_static(),
            ca_file=settings.ca_file,
            setup_file=settings.data / "setup-secret",
            simulated_hosts=settings.simulated_hosts,
            providers=LoginProviders(),
            catalogs=Catalogs(GitCommand(), settings.data / "catalogs", values.get),
        )
        await api.settle()
        await _run(settings, api, plane, peers)
    return 0


def _opened(settings: ServerSettings, keyring: FileKeyring) -> ServerSettings:
    """The database password may be sealed, as in a node's configuration."""
    from remuda.ha.sealing import PREFIX, unseal

    password = settings.database.password
    if not password.startswith(PREFIX):
        return settings
    opened = msgspec.structs.replace(settings.database, password=unseal(keyring.root, password))
    return msgspec.structs.replace(settings, database=opened)


def _setting_values(settings: ServerSettings) -> SettingValues:
    defaults = {"api.host": settings.host_registration_url} if settings.host_registration_url else {}
    if settings.agent_image:
        defaults["agent.image"] = settings.agent_image
    return SettingValues(
        {"rancher.server.version": RANCHER_VERSION, "remuda.version": remuda.__version__}, defaults=defaults
    )


def _tune() -> None:
    """For a process that answers many at once and keeps what it knows of thousands of containers.

    Records have no cycles, so collecting them ever so often finds nothing and costs a third of a busy server's time. And whoever
    only wants to pass a frame on must not wait for five milliseconds each time until a thread that reads rows lets it.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)
    sys.setswitchinterval(0.001)


async def _run(settings: ServerSettings, api: Api, plane: ControlPlane, peers: PeerList | None) -> None:
    _tune()
    server = uvicorn.Server(
        uvicorn.Config(
            application(api),
            host=settings.listen_host,
            port=settings.listen_port,
            loop="none",
            http="httptools",
            ws="websockets-sansio",
            ws_max_size=16 * 1024 * 1024,
            ws_ping_interval=WS_PING_SECONDS,
            ws_ping_timeout=WS_PONG_SECONDS,
            ws_per_message_deflate=False,
            access_log=False,
            log_config=None,
            lifespan="off",
            proxy_headers=False,
            timeout_graceful_shutdown=3,
            server_header=False,
        )
    )
    tasks = [
        asyncio.create_task(_kept_up("control plane", plane.run)),
        asyncio.create_task(_kept_up("api", api.run)),
    ]
    if api.catalogs is not None:
        tasks.append(asyncio.create_task(_kept_up("catalogs", api.catalogs.run)))
    if settings.simulated_hosts:
        from remuda.run.simulated import simulator  # the agent's code, which other servers do without

        log.warning("simulated hosts are on: hosts of agents sim://... run nothing")
        tasks.append(asyncio.create_task(_kept_up("simulated hosts", simulator(plane).run)))
    if peers is not None:
        tasks.append(asyncio.create_task(_kept_up("peers", peers.watch)))
    async with _announced(settings, api, server):
        try:
            await _serve_http(server)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _serve_http(server: uvicorn.Server) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, functools.partial(setattr, server, "should_exit", True))
    with contextlib.suppress(SystemExit):  # uvicorn's way to say that it could not listen; it has logged why
        await server._serve()
    if not server.started:
        raise SettingsError(
            f"cannot listen on {server.config.host}:{server.config.port}: another program has the port, or this user may not"
        )


async def _kept_up(name: str, run: object) -> None:
    """No loop of ours may end: whatever happened is logged, and it starts again."""
    while True:
        try:
            await run()  # type: ignore[operator]
        except asyncio.CancelledError:
            raise
        except BaseException:
            log.exception("a part of the server failed and is started again", part=name)
        await asyncio.sleep(1)


@contextlib.asynccontextmanager
async def _announced(settings: ServerSettings, api: Api, server: uvicorn.Server) -> AsyncIterator[None]:
    """Say where we are once we are there, and start the local agent if asked to."""

    async def announce() -> None:
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.02)
        port = server.servers[0].sockets[0].getsockname()[1]
        log.info(
            "startup succeeded, listening", url=f"http://{settings.listen_host}:{port}", version=remuda.__version__
        )
        secret = await api.setup_secret()
        if secret is not None:
            path = settings.data / "setup-secret"
            path.unlink(missing_ok=True)  # one with other permissions may be there
            path.touch(mode=0o600, exist_ok=False)
            path.write_text(secret + "\n")
            # not through the log: logs are collected, and this is for the eyes of whoever started the server
            print(
                f"\n  Remuda has no administrator yet.\n  Open the address above and use this setup secret: {secret}\n",
                file=sys.stderr,
                flush=True,
            )
        if settings.local_agent:
            await local_agent.run(api, settings.data, port)

    task = asyncio.create_task(announce())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


if __name__ == "__main__":
    sys.exit(main())
