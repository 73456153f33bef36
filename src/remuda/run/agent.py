"""``remuda agent``: puts the agent together. The only module of the agent's that names the Docker adapter.

Exit codes: 0 ended by a signal (containers are left alone) or handed over to ``remuda-agent``; 2 wrong usage; 3 the server
refuses this machine for good; 1 anything else.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from remuda import __version__
from remuda.adapters.docker.engine import DockerEngine
from remuda.adapters.haproxy import HaproxyControl
from remuda.agent import container as own_container
from remuda.agent.balancer.keeper import Balancers
from remuda.agent.book import Book
from remuda.agent.conversation import Final
from remuda.agent.facts import Machine, agent_address
from remuda.agent.health.prober import Prober
from remuda.agent.identity import Identity, IdentityFile, boot_token, engine_fingerprint, machine_fingerprint
from remuda.agent.network.keeper import NetworkKeeper
from remuda.agent.network.launch import SERVICE_WORD, ContainerLauncher, Launcher, ProcessLauncher, may_network
from remuda.agent.register import check_url
from remuda.agent.runtime import Runtime
from remuda.agent.secrets import Vault
from remuda.agent.session import Session
from remuda.agent.surroundings import Surroundings
from remuda.core.wire import HostFacts
from remuda.ports.engine import Document, EngineError
from remuda.run import logs

log = logging.getLogger("remuda.agent")

FOREGROUND = "REMUDA_AGENT_FOREGROUND"
"""Set to 1: run where we are, even in a container that is not made to last (a server starts its own agent so)."""
DEFAULT_STATE = "/var/lib/remuda/agent"
PULSE = "REMUDA_PULSE"
PULSE_SECONDS = 10.0

Keeping = Callable[[], Coroutine[Any, Any, None]]
"""Something that is looked after for ever, beside the containers."""

_HELP = """\
Makes this machine a Docker host of Remuda: registers it once, then keeps its containers as the server wants them, also
while no server can be reached.

  remuda agent https://remuda.example.com/v1/scripts/TOKEN
      The registration URL is the last word of the command under Hosts, Add Host. It is needed the first time only.

  docker run -d --privileged -v /var/run/docker.sock:/var/run/docker.sock \\
      -v /var/lib/remuda:/var/lib/remuda remuda/agent https://.../v1/scripts/TOKEN
      The same as a container. It starts the container remuda-agent, which survives reboots, and leaves.
      Run it again, with other options if you like, to replace that container; the host stays the same host.
"""
_EPILOG = """\
environment (each has an option above, or is set with -e in the docker command):
  CATTLE_AGENT_IP       address under which other hosts reach this one (default: as seen toward the server)
  CATTLE_HOST_LABELS    labels of the host as a query string: 'rack=a&disk=ssd'
  CA_FINGERPRINT        SHA-256 fingerprint of the server's private CA
  CATTLE_URL, CATTLE_ACCESS_KEY, CATTLE_SECRET_KEY    talk to this API with these keys, without registration
  DOCKER_HOST           Docker engine (default unix:///var/run/docker.sock)
  REMUDA_LOG            text or json

A clone of this machine's disk must not keep its identity: remove the state folder there and register it anew.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until a signal comes."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == [SERVICE_WORD]:
        return importlib.import_module("remuda.run.network").main(arguments[1:])  # type: ignore[no-any-return]
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        url = check_url(options.url) if options.url else ""
        given = dict(_pair(text) for text in options.label)
        engine = DockerEngine(options.docker)
    except ValueError as error:
        parser.error(str(error))
    logs.configure(os.environ.get("REMUDA_LOG", "text"), logging.DEBUG if options.verbose else logging.INFO)
    try:
        return asyncio.run(_main(options, url, given, engine, arguments))
    except KeyboardInterrupt:
        return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="remuda agent", description=_HELP, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = os.environ.get("REMUDA_REGISTRATION_URL", "")
    parser.add_argument(
        "url", nargs="?", default=given, metavar="REGISTRATION_URL", help="where to register (see above)"
    )
    parser.add_argument(
        "--state", default="", metavar="DIR", help=f"identity and assignments (default {DEFAULT_STATE})"
    )
    parser.add_argument("--docker", default="", metavar="URL", help="engine: unix:///path or tcp://host:port")
    parser.add_argument(
        "--label", action="append", default=[], metavar="KEY=VALUE", help="a label of this host; repeatable"
    )
    parser.add_argument(
        "--ca-fingerprint", default=os.environ.get("CA_FINGERPRINT", ""), metavar="SHA256", help="see below"
    )
    parser.add_argument("--verbose", action="store_true", help="say more")
    parser.add_argument("--version", action="version", version=f"remuda agent {__version__}")
    return parser


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise ValueError(f"{text!r} is no label: write --label key=value")
    return key, value


async def _main(
    options: argparse.Namespace, url: str, given: Mapping[str, str], engine: DockerEngine, arguments: Sequence[str]
) -> int:
    work = asyncio.create_task(_run(options, url, given, engine, arguments))
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, work.cancel)
    try:
        return await work
    except asyncio.CancelledError:
        log.info("Told to stop; containers are left as they are")
        return 0
    finally:
        await engine.close()


async def _run(
    options: argparse.Namespace, url: str, given: Mapping[str, str], engine: DockerEngine, arguments: Sequence[str]
) -> int:
    own = await _own_document(engine)
    in_place = os.environ.get(FOREGROUND, "") not in ("", "0")
    if own is not None and not own_container.permanent(own) and not in_place:
        try:
            await own_container.become_permanent(engine, own, arguments)
            await own_container.remove_self(engine, own)
        except (own_container.NotPermanent, EngineError) as error:
            log.error("%s", error)
            return 1
        return 0
    folder = Path(options.state or (own_container.state_folder(own) if own else DEFAULT_STATE))
    host_root, machine = await _machine(engine, own)
    try:
        launcher = _launcher(engine, own, folder)
        session, runtime, keeping = _compose(
            folder, url, options.ca_fingerprint, given, engine, host_root, machine, launcher
        )
    except (OSError, ValueError) as error:
        log.error("%s", error if isinstance(error, ValueError) else f"{folder} cannot be used: {error}")
        return 1
    if not (session.identity.registered or url):
        log.error(
            "This machine is not registered. Give the registration URL: the last word of the command under Add Host"
        )
        return 2
    return await _until_final(session, runtime, keeping)


def _launcher(engine: DockerEngine, own: Document | None, folder: Path) -> Launcher | None:
    """How the network service is started here; None where nothing may be changed."""
    if not may_network():
        return None
    if own is not None and own_container.permanent(own):
        return ContainerLauncher(engine, own, folder)
    return ProcessLauncher(folder)


def _compose(
    folder: Path,
    url: str,
    ca_fingerprint: str,
    given: Mapping[str, str],
    engine: DockerEngine,
    host_root: Path,
    machine: str,
    launcher: Launcher | None,
) -> tuple[Session, Runtime, list[Keeping]]:
    keep = IdentityFile(folder)
    keep.lock()
    identity = _from_environment(keep.load(), os.environ, url)
    if identity.machine and identity.machine != machine:
        log.warning("The identity in %s was made on another machine: is this disk a clone?", folder)
    runtime = Runtime(engine, Book(folder), agent=identity.uuid, vault=Vault(identity.uuid, host_root))
    if runtime.book.trouble:
        log.warning("%s", runtime.book.trouble)
    source = Machine(os.environ, given, root=host_root)
    watch = runtime.watch
    known = NetworkKeeper.remembered(folder)
    around = Surroundings(known.scene, known.host_id, known.keys, known.use) if known else Surroundings()
    keeper = NetworkKeeper(folder, engine, around, launcher, watch.containers.values, watch.refresh)

    prober = Prober(engine, around)

    def collect(address: str) -> HostFacts:
        facts = source.facts(address, watch.info, up=watch.up, message=watch.message)
        network, why = keeper.status()
        keys, use = keeper.keys
        return msgspec.structs.replace(
            facts,
            network=network,
            network_message=why,
            link_mtu=keeper.link_mtu,
            network_keys=keys,
            network_use=use,
        )

    session = Session(
        runtime,
        engine,
        keep,
        identity,
        machine=machine,
        boot=boot_token(),
        collect=collect,
        address=lambda seen, detected: agent_address(os.environ, seen, detected),
        registration_url=url,
        ca_fingerprint=ca_fingerprint,
        surroundings=around,
        prober=prober,
    )
    runtime.attend(keeper)
    balancers = Balancers(
        folder.absolute(), engine, HaproxyControl(), around, watch.containers.values, lambda: runtime.book.assignments
    )
    runtime.balance(balancers)
    return session, runtime, [keeper.run, balancers.run, prober.run]


def _from_environment(identity: Identity, environment: Mapping[str, str], url: str) -> Identity:
    """Keys that were given by hand stand in for registration."""
    names = ("CATTLE_URL", "CATTLE_ACCESS_KEY", "CATTLE_SECRET_KEY")
    api, access, secret = (environment.get(name, "") for name in names)
    if url or not (api and access and secret):
        return identity
    return msgspec.structs.replace(identity, url=api.rstrip("/"), access_key=access, secret_key=secret)


async def _machine(engine: DockerEngine, own: Document | None) -> tuple[Path, str]:
    """Where the machine's files are seen from here, and its fingerprint."""
    if own is None:
        return Path("/"), machine_fingerprint()
    if own_container.sees_host(own):
        root = Path("/proc/1/root")
        return root, machine_fingerprint(root)
    return Path("/"), engine_fingerprint(str((await engine.info()).get("ID", "")))


async def _until_final(session: Session, runtime: Runtime, keeping: Sequence[Keeping]) -> int:
    beside = [asyncio.create_task(work()) for work in keeping]
    looking_after = asyncio.create_task(runtime.run())
    talking = asyncio.create_task(session.run())
    beating = asyncio.create_task(_pulse(os.environ.get(PULSE, "")))
    try:
        done, _ = await asyncio.wait({looking_after, talking}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    except Final as error:
        log.error("%s", error)
        return 3
    finally:
        for task in (talking, looking_after, *beside, beating):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await asyncio.gather(talking, looking_after, *beside, return_exceptions=True)
    return 1


async def _pulse(path: str) -> None:
    """Touch a file while the event loop turns: the image's health check looks at its age."""
    while path:
        _touch(path)
        await asyncio.sleep(PULSE_SECONDS)


def _touch(path: str) -> None:
    with contextlib.suppress(OSError):
        Path(path).touch()


async def _own_document(engine: DockerEngine) -> Document | None:
    """Docker's document of the container we are in, None outside of one (or when the engine knows nothing of it)."""
    own = own_container.own_id()
    while own:
        try:
            return await engine.inspect(own)
        except EngineError as error:
            if error.status == 404:
                return None
            log.warning("%s; the agent needs Docker to find itself, trying again", error)
            await asyncio.sleep(2)
    return None


if __name__ == "__main__":
    sys.exit(main())
