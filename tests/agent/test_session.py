"""The agent and a server, over a real socket; Docker is in memory."""

from __future__ import annotations

import hashlib
import ssl
from pathlib import Path

import pytest
import trustme
from tests.agent.conftest import Start
from tests.support.fakeengine import FakeEngine
from tests.support.fakeserver import FakeServer, until

from remuda.agent.conversation import Final
from remuda.agent.register import Unregistered, exports, fetch_ca, register
from remuda.core import wire
from remuda.core.labels import START_ONCE
from remuda.core.spec import LaunchConfig
from remuda.core.wire import Assignment


def wish(uuid: str, seq: int, desired: str = "running", **changes: object) -> Assignment:
    spec = changes.pop("spec", LaunchConfig(image_uuid="docker:busybox"))
    return Assignment(uuid=uuid, seq=seq, desired=desired, name=f"web_{uuid}", spec=spec, **changes)  # type: ignore[arg-type]


async def test_an_agent_registers_and_runs_what_it_is_assigned(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    await server.assign(wish("u1", 1), wish("u2", 2))
    agent = await start()
    await until(lambda: server.reports.get("u1", wire.ContainerReport(uuid="")).observed == "running")
    await until(lambda: server.applied == 2)
    assert server.registrations == [agent.session.identity.uuid]
    assert engine.running("u1")
    assert engine.running("u2")
    assert server.reports["u1"].applied_seq == 1
    assert server.hellos[0].facts.labels["rack"] == "a"
    assert server.observed[0].complete


async def test_the_identity_is_private_and_kept(start: Start, server: FakeServer, tmp_path: Path) -> None:
    agent = await start()
    await until(lambda: server.connected)
    await agent.stop()
    path = tmp_path / "agent" / "identity.json"
    assert path.stat().st_mode & 0o777 == 0o600
    again = await start(url="")
    await until(lambda: len(server.hellos) == 2)
    assert again.session.identity.uuid == agent.session.identity.uuid
    assert len(server.registrations) == 1


async def test_repeating_assignments_changes_nothing(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    await start()
    await until(lambda: server.connected)
    await server.assign(wish("u1", 1), wish("u2", 2, desired="stopped"))
    await until(lambda: server.applied == 2)
    before, reports = engine.changes, len(server.observed)
    await server.assign(wish("u1", 1), wish("u2", 2, desired="stopped"))
    await server.assign(complete=True)
    await until(lambda: len(server.observed) > reports)
    assert engine.changes == before


async def test_server_away_then_back_touches_nothing(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    await server.assign(wish("u1", 1), wish("u2", 2))
    await start()
    await until(lambda: server.applied == 2)
    before = engine.changes
    await server.stop()
    await server.start()
    await until(lambda: len(server.hellos) == 2, what="the agent comes back")
    await until(lambda: server.reports["u2"].observed == "running")
    assert server.hellos[1].applied_seq == 2
    assert engine.changes == before


async def test_a_crash_while_the_server_is_away_is_mended_and_told_later(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    await server.assign(wish("u1", 1))
    await start()
    await until(lambda: server.applied == 1)
    await server.stop()
    engine.end(engine.of("u1")[0]["Id"], 3)
    await until(lambda: engine.running("u1"), what="the agent starts it again")
    await server.start()
    await until(lambda: server.connected)
    await until(lambda: server.reports["u1"].restarts == 1)
    assert server.reports["u1"].observed == "running"


async def test_an_agent_started_without_a_server_keeps_its_containers_running(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    once = LaunchConfig(image_uuid="docker:busybox", labels={START_ONCE: "true"})
    await server.assign(wish("u1", 1), wish("u2", 2, spec=once))
    agent = await start()
    await until(lambda: server.applied == 2)
    await agent.stop()
    await server.stop()
    for box in list(engine.boxes):  # the machine reboots
        engine.end(box, 137)
    await start(url="")
    await until(lambda: engine.running("u1"), what="the last known assignment is carried out")
    assert not engine.running("u2")
    assert engine.calls["create"] == 2


async def test_registry_credentials_never_reach_the_disk(
    start: Start, server: FakeServer, engine: FakeEngine, tmp_path: Path
) -> None:
    engine.registry.add("private/app")
    spec = LaunchConfig(image_uuid="docker:private/app")
    await server.assign(wish("u1", 1, spec=spec, registry_auth="c2VjcmV0"))
    agent = await start()
    await until(lambda: engine.running("u1"))
    await agent.stop()
    kept = b"".join(path.read_bytes() for path in (tmp_path / "agent").iterdir())
    assert b"private/app" in kept
    assert b"c2VjcmV0" not in kept


async def test_a_clone_is_refused_for_good(start: Start, server: FakeServer) -> None:
    agent = await start()
    await until(lambda: server.connected)
    await agent.stop()
    clone = await start(machine="m2")
    with pytest.raises(Final, match="clone"):
        await clone.talking


async def test_a_revoked_registration_is_refused_for_good(start: Start, server: FakeServer) -> None:
    agent = await start(url=f"http://localhost:{server.port}/v1/scripts/revoked")
    with pytest.raises(Final, match="copy a fresh command"):
        await agent.talking


async def test_unknown_keys_register_the_same_machine_again(start: Start, server: FakeServer) -> None:
    agent = await start()
    await until(lambda: server.connected)
    server.keys.clear()
    await server.kick()
    await until(lambda: len(server.registrations) == 2)
    await until(lambda: server.connected)
    assert server.registrations[0] == server.registrations[1] == agent.session.identity.uuid


async def test_unknown_keys_without_a_registration_url_are_final(start: Start, server: FakeServer) -> None:
    agent = await start()
    await until(lambda: server.connected)
    await agent.stop()
    server.keys.clear()
    again = await start(url="")
    with pytest.raises(Final, match="does not know this agent"):
        await again.talking


async def test_a_server_that_restarts_is_found_again_at_once(start: Start, server: FakeServer) -> None:
    await start()
    await until(lambda: server.connected)
    await server.kick(1012)
    await until(lambda: len(server.hellos) == 2, seconds=3.0)


async def test_a_silent_server_is_left(start: Start, server: FakeServer) -> None:
    await start()
    await until(lambda: server.connected)
    server.mute = True
    await until(lambda: len(server.hellos) >= 2, seconds=5, what="the agent connects anew")


async def test_reports_that_were_not_stored_are_said_again(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    await start()
    await until(lambda: server.observed)
    server.note = False
    await server.assign(wish("u1", 1))
    await until(lambda: engine.running("u1"))
    server.note = True
    server.reports.clear()
    await server.kick()
    await until(lambda: "u1" in server.reports and server.reports["u1"].applied_seq == 1)
    numbers = [report.number for report in server.observed]
    assert numbers == sorted(set(numbers))


async def test_removal_is_carried_out_told_and_forgotten(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    await server.assign(wish("u1", 1))
    agent = await start()
    await until(lambda: engine.running("u1"))
    await server.assign(wish("u1", 2, desired="removed"))
    await until(lambda: server.reports["u1"].observed == "absent" and server.reports["u1"].applied_seq == 2)
    await until(lambda: not agent.runtime.book.assignments)
    assert not engine.boxes


async def test_containers_of_people_are_told_and_left_alone(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    mine = engine.by_hand("mine")
    await start()
    await until(lambda: f"docker:{mine}" in server.reports)
    assert server.reports[f"docker:{mine}"].native
    await server.assign(complete=True)
    engine.end(mine)
    await until(lambda: server.reports[f"docker:{mine}"].observed == "exited")
    assert engine.changes == 0


async def test_docker_down_is_told_apart_and_mended(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    await server.assign(wish("u1", 1))
    await start()
    await until(lambda: engine.running("u1"))
    engine.stop_daemon()
    down = await until(lambda: next((f for f in server.facts if f.docker == "down"), None), seconds=5)
    assert "cannot be reached" in down.docker_message or "closed" in down.docker_message
    engine.boxes[engine.of("u1")[0]["Id"]]["State"].update(Status="exited", Running=False, ExitCode=137)
    engine.start_daemon()
    await until(lambda: server.facts[-1].docker == "up")
    await until(lambda: engine.running("u1"), what="Docker's restart ended it, the agent starts it")


async def test_nothing_is_called_absent_before_docker_was_seen(
    start: Start, server: FakeServer, engine: FakeEngine
) -> None:
    await server.assign(wish("u1", 1))
    agent = await start()
    await until(lambda: server.applied == 1)
    await agent.stop()
    engine.stop_daemon()
    server.observed.clear()
    await start()
    await until(lambda: len(server.hellos) == 2)
    await server.assign(complete=True)
    await until(lambda: server.hellos[-1].facts.docker == "down")
    assert not server.observed
    engine.start_daemon()
    await until(lambda: server.observed)
    assert server.observed[0].complete
    assert engine.calls["create"] == 1


async def test_errors_carry_dockers_words(start: Start, server: FakeServer) -> None:
    await server.assign(wish("u1", 1, spec=LaunchConfig(image_uuid="docker:nosuch")))
    await start()
    await until(lambda: "u1" in server.reports and server.reports["u1"].observed == "error")
    assert "pull access denied for nosuch" in server.reports["u1"].message


async def test_exec_logs_and_stats_are_carried(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    box = engine.by_hand("mine")
    await start()
    await until(lambda: server.connected)
    shell = await server.open("exec", container=box, command=["sh"], tty=True, stdin=True)
    await server.send(wire.StreamData(stream=shell, channel="resize", payload=b"120x40"))
    await server.send(wire.StreamData(stream=shell, channel="in", payload=b"ls\n"))
    await until(lambda: server.received(shell) == b"ls\n")
    await server.send(wire.StreamData(stream=shell, channel="in", payload=b""))
    end = await until(lambda: server.end_of(shell))
    assert end.exit_code == 7
    assert engine.execs[0].sizes == [(120, 40)]
    assert engine.execs[0].closed
    room = [frame.amount for frame in server.streams[shell] if isinstance(frame, wire.StreamCredit)]
    assert room == [len(b"ls\n")], "room is given back for what was typed, and for nothing else"
    logs = await server.open("logs", container=box, follow=False)
    await until(lambda: server.end_of(logs))
    assert server.received(logs) == b"hello\n"
    stats = await server.open("stats", containers={box: "1i7"})
    await until(lambda: b'"id":"1i7"' in server.received(stats))
    missing = await server.open("logs", container="nosuch")
    end = await until(lambda: server.end_of(missing))
    assert "No such container" in end.error


async def test_a_slow_reader_holds_up_its_own_stream_only(start: Start, server: FakeServer, engine: FakeEngine) -> None:
    box = engine.by_hand("mine")
    engine.log_bytes = b"x" * (wire.STREAM_WINDOW * 2)
    await start()
    await until(lambda: server.connected)
    slow = await server.open("logs", container=box, follow=False)
    await until(lambda: len(server.received(slow)) >= wire.STREAM_WINDOW)
    await server.assign(wish("u1", 1))
    await until(lambda: engine.running("u1"), what="the session goes on")
    assert len(server.received(slow)) < wire.STREAM_WINDOW * 2
    await server.send(wire.StreamCredit(stream=slow, amount=wire.STREAM_WINDOW * 2))
    await until(lambda: len(server.received(slow)) == wire.STREAM_WINDOW * 2)


def _certified(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def _fingerprint(authority: trustme.CA) -> str:
    der = ssl.PEM_cert_to_DER_cert(authority.cert_pem.bytes().decode())
    return ":".join(f"{byte:02X}" for byte in hashlib.sha256(der).digest())


async def test_a_private_ca_is_trusted_by_its_fingerprint_only(start: Start) -> None:
    authority = trustme.CA()
    server = FakeServer()
    server.ca = authority.cert_pem.bytes().decode()
    url = await server.start(_certified(authority))
    try:
        with pytest.raises(Unregistered, match="expected fingerprint"):
            await fetch_ca(f"https://localhost:{server.port}", "00" * 32)
        agent = await start(url=url)
        with pytest.raises(Unregistered, match="CA_FINGERPRINT"):
            await register(url, "x", "")
        await agent.stop()
        assert not server.registrations
        await start(url=url, ca_fingerprint=_fingerprint(authority))
        await until(lambda: server.connected)
    finally:
        await server.stop()


async def test_a_replaced_ca_needs_only_its_new_fingerprint(start: Start) -> None:
    old, new = trustme.CA(), trustme.CA()
    server = FakeServer()
    server.ca = old.cert_pem.bytes().decode()
    url = await server.start(_certified(old))
    try:
        agent = await start(url=url, ca_fingerprint=_fingerprint(old))
        await until(lambda: server.connected)
        await agent.stop()
        await server.stop()
        server.ca = new.cert_pem.bytes().decode()
        await server.start(_certified(new))
        await start(url=url, ca_fingerprint=_fingerprint(new))
        await until(lambda: server.connected)
        assert len(server.registrations) == 1
    finally:
        await server.stop()


async def test_keys_that_are_never_accepted_end_it(start: Start, server: FakeServer) -> None:
    server.give_useless_keys = True
    agent = await start()
    with pytest.raises(Final, match="does not know this agent"):
        await agent.talking
    assert len(server.registrations) == 4


async def test_a_wrong_new_registration_url_does_not_lose_the_old_registration(
    start: Start, server: FakeServer
) -> None:
    agent = await start()
    await until(lambda: server.connected)
    await agent.stop()
    await start(url=f"http://localhost:{server.port}/v1/scripts/revoked")
    await until(lambda: len(server.hellos) == 2)
    assert len(server.registrations) == 1


async def test_a_refusal_that_is_not_final_is_tried_again(start: Start, server: FakeServer) -> None:
    server.refuse = wire.Refused(reason="No quorum")
    await start()
    await until(lambda: len(server.hellos) >= 2)
    server.refuse = None
    await until(lambda: server.connected)


def test_exports_are_read_as_a_shell_would() -> None:
    assert exports("#!/bin/sh\nexport A=\"b c\"\nB='d'\n# export C=1\nexport D=e\n") == {"A": "b c", "B": "d", "D": "e"}
