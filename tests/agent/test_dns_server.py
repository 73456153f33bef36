"""The name server on real sockets: what is answered at once, what is passed on, and how it bears resolvers that misbehave."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import dns.asyncquery
import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from tests.core.scenes import container, host, link, scene, service, stack

from remuda.agent.network.dns import upstream as upstream_module
from remuda.agent.network.dns.part import NamesPart, here
from remuda.agent.network.dns.server import MOST_EACH
from remuda.agent.network.dns.upstream import Unanswered, Upstream
from remuda.agent.network.state import Local, NetState
from remuda.core.network.scene import Scene

Message = dns.message.Message
Behave = Callable[[Message, bool], "bytes | list[bytes] | None"]
GOOD, SECOND = "127.0.0.21", "127.0.0.22"
HERE, CLIENT, OTHER = "127.0.0.20", "127.0.0.31", "127.0.0.32"


def world(**changes: object) -> Scene:
    """A stack whose containers have loopback addresses, so that they can ask."""
    return scene(
        host(1),
        stack(1, "shop"),
        service(1, "web", links=[link(2, "store")]),
        service(2, "db"),
        service(3, "ext", kind="externalService", hostname="www.example.com"),
        container(1, service_id=1, stack_id=1, ip=CLIENT, **changes),
        container(2, service_id=2, stack_id=1, ip=OTHER),
        container(3, service_id=2, stack_id=1, ip="10.42.0.3", host_id=2),
    )


class Resolver:
    """A resolver of the outside world, as good or bad as a test wants. Counts what it is asked over UDP and TCP."""

    def __init__(self, address: str, behave: Behave) -> None:
        self.address, self.behave = address, behave
        self.asked: list[tuple[str, bool]] = []
        self.ports: set[int] = set()
        self.ids: set[int] = set()

    async def open(self, port: int) -> int:
        self.datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.datagrams.setblocking(False)
        self.datagrams.bind((self.address, port))
        bound = int(self.datagrams.getsockname()[1])
        self.listener = await asyncio.start_server(self._stream, self.address, bound)
        asyncio.get_running_loop().add_reader(self.datagrams, self._readable)
        return bound

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self.datagrams)
        self.datagrams.close()
        self.listener.close()

    def _replies(self, data: bytes, stream: bool) -> list[bytes]:
        query = dns.message.from_wire(data)
        self.asked.append((str(query.question[0].name), stream))
        self.ids.add(query.id)
        found = self.behave(query, stream)
        return [] if found is None else [found] if isinstance(found, bytes) else found

    def _readable(self) -> None:
        data, peer = self.datagrams.recvfrom(4096)
        self.ports.add(peer[1])
        for reply in self._replies(data, False):
            self.datagrams.sendto(reply, peer)

    async def _stream(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            for reply in self._replies(await reader.readexactly(length), True):
                writer.write(struct.pack("!H", len(reply)) + reply)
        writer.close()


def says(address: str, count: int = 1) -> Behave:
    def behave(query: Message, stream: bool) -> bytes:
        reply = dns.message.make_response(query)
        name = query.question[0].name
        if query.question[0].rdtype == dns.rdatatype.A:
            texts = [address, *(f"203.0.{n >> 8}.{n & 255}" for n in range(1, count))]
            reply.answer.append(dns.rrset.from_text_list(name, 60, "IN", "A", texts))
        data = reply.to_wire()
        if stream or len(data) <= 512:
            return data
        reply.answer.clear()
        reply.flags |= dns.flags.TC
        return reply.to_wire()

    return behave


def fails(code: int) -> Behave:
    def behave(query: Message, _stream: bool) -> bytes:
        reply = dns.message.make_response(query)
        reply.set_rcode(dns.rcode.Rcode(code))
        return reply.to_wire()

    return behave


def silent(_query: Message, _stream: bool) -> None:
    return None


class Bench:
    """A part under test, and the resolvers behind it."""

    def __init__(self, part: NamesPart, good: Resolver, second: Resolver) -> None:
        self.part, self.good, self.second = part, good, second
        self.version = 0

    async def use(self, known: Scene, **changes: object) -> str:
        self.version += 1
        return await self.part.apply(NetState(version=self.version, host_id=1, scene=known, **changes))  # type: ignore[arg-type]

    async def ask(
        self, name: str, kind: str = "A", by: str = CLIENT, *, tcp: bool = False, **options: object
    ) -> Message:
        query = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
        send: Callable[..., Awaitable[Message]] = dns.asyncquery.tcp if tcp else dns.asyncquery.udp
        return await send(query, HERE, timeout=8, port=self.part.port, source=by)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    good, second = Resolver(GOOD, says("203.0.113.1")), Resolver(SECOND, says("203.0.113.2"))
    port = await good.open(0)
    await second.open(port)
    part = NamesPart(HERE, 0, [GOOD, SECOND], port)
    bench = Bench(part, good, second)
    assert await bench.use(world()) == ""
    yield bench
    await part.close()
    good.close()
    second.close()


def addresses(message: Message) -> list[str]:
    return sorted(str(record) for rrset in message.answer for record in rrset if rrset.rdtype == dns.rdatatype.A)


@pytest.mark.parametrize("tcp", [False, True])
async def test_each_client_has_its_own_view(bench: Bench, tcp: bool) -> None:
    assert addresses(await bench.ask("store", tcp=tcp)) == ["10.42.0.3", OTHER]
    for _ in range(3):  # also from what was prepared for the other one
        assert addresses(await bench.ask("store.shop.rancher.internal", tcp=tcp)) == ["10.42.0.3", OTHER]
        assert (await bench.ask("store.shop.rancher.internal", by=OTHER, tcp=tcp)).rcode() == dns.rcode.NXDOMAIN
    assert addresses(await bench.ask("web.shop.rancher.internal", by="127.0.0.99", tcp=tcp)) == [CLIENT]
    assert bench.good.asked == []


async def test_a_new_scene_counts_at_once_and_the_last_one_for_ever(bench: Bench) -> None:
    assert addresses(await bench.ask("db")) == ["10.42.0.3", OTHER]
    known = world()
    del known.containers[3]
    await bench.use(known)
    assert addresses(await bench.ask("db")) == [OTHER]
    assert addresses(await bench.ask("db")) == [OTHER]


async def test_a_newer_word_counts_even_under_an_old_version_number(bench: Bench) -> None:
    bench.version = 0  # an agent that begins anew counts anew
    known = world()
    del known.containers[2]
    await bench.use(known)
    assert addresses(await bench.ask("db")) == ["10.42.0.3"]


async def test_a_container_that_died_here_is_left_out_at_once(bench: Bench) -> None:
    await bench.use(world(), local={"container-2": Local(running=False), "container-1": Local(running=True)})
    assert addresses(await bench.ask("db")) == ["10.42.0.3"]


async def test_the_order_of_addresses_changes(bench: Bench) -> None:
    first = {str((await bench.ask("db")).answer[0][0]) for _ in range(40)}
    assert first == {"10.42.0.3", OTHER}


@pytest.mark.parametrize("tcp", [False, True])
async def test_everything_else_is_asked_of_the_resolvers_of_the_host(bench: Bench, tcp: bool) -> None:
    reply = await bench.ask("www.example.com", tcp=tcp, use_edns=0)
    assert addresses(reply) == ["203.0.113.1"]
    assert bench.good.asked == [("www.example.com.", False)]
    assert bench.second.asked == []


async def test_an_external_service_is_an_alias_with_the_addresses_behind_it(bench: Bench) -> None:
    reply = await bench.ask("ext")
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
    assert addresses(reply) == ["203.0.113.1"]
    bench.good.behave = fails(dns.rcode.NXDOMAIN)
    reply = await bench.ask("ext")
    assert (reply.rcode(), len(reply.answer)) == (dns.rcode.NXDOMAIN, 1)


async def test_a_container_with_resolvers_of_its_own_has_those_asked(bench: Bench) -> None:
    bench.part._upstream._given = (GOOD,)
    await bench.use(world(dns=["127.0.0.1", SECOND, "169.254.169.250"]))
    assert addresses(await bench.ask("www.example.com", by=OTHER)) == ["203.0.113.1"]
    upstream = bench.part._upstream
    with pytest.MonkeyPatch.context() as patch:
        asked: list[tuple[str, ...]] = []

        async def look(_query: object, servers: tuple[str, ...]) -> bytes:
            asked.append(servers)
            raise Unanswered("enough seen")

        patch.setattr(upstream, "_ask", look)
        await bench.use(world(dns=["127.0.0.1", "192.0.2.53", "169.254.169.250"]))
        assert (await bench.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
        assert asked == [("192.0.2.53",)]


async def test_a_resolver_that_fails_is_passed_over(bench: Bench) -> None:
    for behave in (fails(dns.rcode.SERVFAIL), fails(dns.rcode.REFUSED)):
        bench.good.behave = behave
        assert addresses(await bench.ask("www.example.com")) == ["203.0.113.2"]
    bench.second.behave = fails(dns.rcode.SERVFAIL)
    assert (await bench.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL


async def test_a_resolver_that_is_silent_is_overtaken_and_then_asked_last(bench: Bench) -> None:
    bench.good.behave = silent
    began = time.monotonic()
    assert addresses(await bench.ask("www.example.com")) == ["203.0.113.2"]
    assert time.monotonic() - began < 2.5
    bench.good.asked.clear()
    assert addresses(await bench.ask("mail.example.com")) == ["203.0.113.2"]
    assert bench.good.asked == []


async def test_nobody_who_answers_is_an_error_in_time_for_the_client_to_see(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upstream_module, "OVERTAKE_SECONDS", 0.05)
    monkeypatch.setattr(upstream_module, "WHOLE_SECONDS", 0.3)
    bench.good.behave = bench.second.behave = silent
    assert (await bench.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
    assert (await bench.ask("ext", tcp=True)).rcode() == dns.rcode.SERVFAIL
    assert addresses(await bench.ask("db")) == ["10.42.0.3", OTHER]


async def test_answers_to_other_questions_are_not_believed(bench: Bench) -> None:
    def forge(query: Message, stream: bool) -> list[bytes]:
        right = says("203.0.113.1")(query, stream)
        assert isinstance(right, bytes)
        other = dns.message.make_query("evil.example.com", "A", id=query.id)
        forged = says("198.51.100.66")(other, stream)
        assert isinstance(forged, bytes)
        wrong_id = struct.pack("!H", query.id ^ 1) + says("198.51.100.66")(query, stream)[2:]  # type: ignore[index,operator]
        return [b"", b"\0", wrong_id, forged, query.to_wire(), right]

    bench.good.behave = forge
    assert addresses(await bench.ask("www.example.com")) == ["203.0.113.1"]


async def test_questions_go_out_under_random_numbers_from_random_ports(bench: Bench) -> None:
    for n in range(20):
        await bench.ask(f"n{n}.example.com")
    assert len(bench.good.ports) > 10
    assert len(bench.good.ids) > 10


async def test_a_cut_answer_is_fetched_whole_and_cut_again_for_who_takes_little(bench: Bench) -> None:
    bench.good.behave = says("203.0.113.1", 60)
    over_udp = await bench.ask("many.example.com")
    assert over_udp.flags & dns.flags.TC
    assert len(addresses(await bench.ask("many.example.com", tcp=True))) == 60
    assert len(addresses(await bench.ask("many.example.com", use_edns=0, payload=4096))) == 60
    assert ("many.example.com.", True) in bench.good.asked


async def test_a_resolver_that_knows_no_edns_is_asked_without(bench: Bench) -> None:
    def old(query: Message, stream: bool) -> bytes | list[bytes] | None:
        if query.edns < 0:
            return says("203.0.113.1")(query, stream)
        return struct.pack("!HHHHHH", query.id, 0x8001, 0, 0, 0, 0)

    bench.good.behave = old
    assert addresses(await bench.ask("www.example.com", use_edns=0)) == ["203.0.113.1"]


async def test_the_same_question_of_many_is_asked_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bytes] = []
    gate = asyncio.Event()
    real = bench.part._upstream._exchange

    async def slow(server: str, query: object) -> bytes:
        asked.append(server.encode())
        await gate.wait()
        return await real(server, query)  # type: ignore[arg-type]

    monkeypatch.setattr(bench.part._upstream, "_exchange", slow)
    waiting = [asyncio.create_task(bench.ask("www.example.com", use_edns=False)) for _ in range(10)]
    async with asyncio.timeout(5):
        while bench.part._server is None or sum(bench.part._server._passed.values()) < 10:
            await asyncio.sleep(0.01)
    gate.set()
    found = await asyncio.gather(*waiting)
    assert [addresses(reply) for reply in found] == [["203.0.113.1"]] * 10
    assert len(asked) == 1


async def test_one_client_cannot_take_all_places(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upstream_module, "OVERTAKE_SECONDS", 2.0)
    bench.good.behave = silent
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as flood:
        flood.bind((CLIENT, 0))
        flood.setblocking(False)
        for n in range(MOST_EACH + 1):
            flood.sendto(dns.message.make_query(f"n{n}.example.com", "A").to_wire(), (HERE, bench.part.port))
        async with asyncio.timeout(5):
            refused = dns.message.from_wire(await asyncio.get_running_loop().sock_recv(flood, 4096))
        assert refused.rcode() == dns.rcode.SERVFAIL
        bench.good.behave = says("203.0.113.1")
        assert addresses(await bench.ask("www.example.com", by=OTHER)) == ["203.0.113.1"]


async def test_rubbish_does_not_hurt(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as rude:
        for data in (b"", b"\0", bytes(12), b"\xff" * 600, b"\1\2\x80" + bytes(20), dns.message.Message().to_wire()):
            rude.sendto(data, (HERE, bench.part.port))
    reader, writer = await asyncio.open_connection(HERE, bench.part.port)
    writer.write(b"\0\x0c" + b"\1\2\1" + bytes(9))
    (length,) = struct.unpack("!H", await reader.readexactly(2))
    assert dns.message.from_wire(await reader.readexactly(length)).rcode() == dns.rcode.FORMERR
    writer.write(b"\0\1x")
    assert await reader.read() == b""
    writer.close()
    assert addresses(await bench.ask("db")) == ["10.42.0.3", OTHER]


async def test_several_questions_over_one_connection(bench: Bench) -> None:
    reader, writer = await asyncio.open_connection(HERE, bench.part.port, local_addr=(CLIENT, 0))
    queries = [dns.message.make_query(name, "A") for name in ("db", "www.example.com", "web")]
    for query in queries:
        data = query.to_wire()
        writer.write(struct.pack("!H", len(data)) + data)
    for query in queries:
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        reply = dns.message.from_wire(await reader.readexactly(length))
        assert query.is_response(reply)
        assert addresses(reply)
    writer.close()


async def test_two_questions_in_one_message_are_refused(bench: Bench) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:
        own.setblocking(False)
        own.connect((HERE, bench.part.port))
        own.send(b"\1\2\1\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1")
        async with asyncio.timeout(5):
            reply = await asyncio.get_running_loop().sock_recv(own, 512)
    assert dns.message.from_wire(reply).rcode() == dns.rcode.REFUSED


async def test_a_flood_of_different_names_is_not_remembered_for_ever(bench: Bench) -> None:
    server = bench.part._server
    assert server is not None
    for n in range(25_000):
        name = b"\x08%08d\7rancher\x08internal\0" % n
        server._first(b"\0\1\1\0\0\1\0\0\0\0\0\0" + name + b"\0\1\0\1", (CLIENT, 5353))
    assert server._prepared <= 20_000
    assert server._bytes <= 4 << 20
    assert addresses(await bench.ask("db")) == ["10.42.0.3", OTHER]


async def test_an_address_that_is_not_there_or_taken_is_said_and_tried_again() -> None:
    part = NamesPart("192.0.2.99", 5353)
    assert "does not have the address 192.0.2.99 yet" in await part.apply(NetState())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind((HERE, 0))
        part = NamesPart(HERE, other.getsockname()[1], [GOOD])
        assert "another program listens on" in await part.apply(NetState())
    assert await part.apply(NetState()) == ""
    await part.close()


def test_the_resolvers_of_the_host_are_read_again_when_they_change(tmp_path: Path) -> None:
    file = tmp_path / "resolv.conf"
    upstream = Upstream(["169.254.169.250"], resolv=file)
    assert upstream.servers() == ()
    file.write_text(
        "# comment\nsearch x\nnameserver 169.254.169.250\nnameserver 192.0.2.1\nnameserver\nnameserver ::1\n"
    )
    assert upstream.servers() == ("192.0.2.1", "::1")
    fresh = tmp_path / "fresh"
    fresh.write_text("nameserver 192.0.2.2\n")
    fresh.replace(file)
    assert upstream.servers() == ("192.0.2.2",)


async def test_without_any_resolver_the_part_says_so_and_serves_its_own_names(tmp_path: Path) -> None:
    part = NamesPart(HERE, 0, resolv=tmp_path / "none")
    problem = await part.apply(NetState(version=1, host_id=1, scene=world()))
    assert "names no resolver" in problem
    own = Bench(part, Resolver(GOOD, silent), Resolver(SECOND, silent))
    assert (await own.ask("www.example.com")).rcode() == dns.rcode.SERVFAIL
    assert addresses(await own.ask("db")) == ["10.42.0.3", OTHER]
    await part.close()


def test_what_the_engine_says_counts_only_when_it_was_asked() -> None:
    running, starting = container(1), container(2, state="starting")
    known = scene(running, starting, container(3, host_id=2))
    assert here(NetState(host_id=1, scene=known), running) is None
    local = {"docker:abc": Local(running=True)}
    assert here(NetState(host_id=1, scene=known, local=local), running) is False
    assert here(NetState(host_id=1, scene=known, local=local), starting) is None
    assert here(NetState(host_id=1, scene=known, local=local), known.containers[3]) is None
    assert here(NetState(host_id=1, scene=known, local={"container-1": Local(running=True)}), running) is True
