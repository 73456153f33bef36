"""DNS messages as bytes: read against an independent library, and never a crash whatever comes in."""

from __future__ import annotations

import random
import struct

import dns.edns
import dns.flags
import dns.message
import dns.name
import dns.opcode
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.core.scenes import container, link, scene, service, stack

from remuda.agent.network.dns import answers, packets
from remuda.agent.network.dns.answers import Choice, Follow
from remuda.agent.network.dns.packets import Malformed, Query
from remuda.core.network.names import Names
from remuda.core.network.scene import Scene

META = "169.254.169.250"


def asked(name: str, kind: str = "A", **options: object) -> tuple[Query, bytes]:
    message = dns.message.make_query(name, kind, **options)  # type: ignore[arg-type]
    data = message.to_wire()
    return packets.read_query(data), data


def shop(count: int = 3) -> Names:
    web = [container(n, service_id=1, stack_id=1) for n in range(1, count + 1)]
    return Names(
        scene(
            stack(1, "shop"),
            service(1, "web"),
            service(2, "ext", kind="externalService", hostname="www.example.com"),
            service(3, "inner", kind="externalService", hostname="web.shop.rancher.internal"),
            service(4, "round", kind="externalService", hostname="round.shop.rancher.internal"),
            service(5, "six", kind="externalService", external_ips=["2001:db8::5", "203.0.113.5", "rubbish"]),
            service(6, "astray", kind="externalService", hostname="nothing.rancher.internal"),
            service(7, "all", kind="dnsService", links=[link(1)]),
            *web,
        ),
        META,
    )


def answered(name: str, kind: str = "A", names: Names | None = None, **options: object) -> dns.message.Message:
    """The answer over UDP, read by the other library, which also checks that it belongs to the question."""
    query, data = asked(name, kind, **options)
    said = answers.answer(names or shop(), None, query)
    assert not isinstance(said, Follow)
    assert said is not None
    ready = answers.prepared(query, said, random.Random(1).shuffle)
    body = ready if isinstance(ready, bytes) else answers.turned(ready, 0.5)
    reply = dns.message.from_wire(data[:2] + body)
    assert dns.message.from_wire(data).is_response(reply)
    return reply


def addresses(message: dns.message.Message) -> list[str]:
    return sorted(str(record) for rrset in message.answer for record in rrset if rrset.rdtype in (1, 28))


def test_a_service_is_answered_with_its_addresses() -> None:
    reply = answered("web.shop.rancher.internal")
    assert addresses(reply) == ["10.42.0.1", "10.42.0.2", "10.42.0.3"]
    assert reply.rcode() == dns.rcode.NOERROR
    assert reply.flags & dns.flags.AA
    assert reply.flags & dns.flags.RA
    assert 1 <= reply.answer[0].ttl <= 5


def test_the_letters_of_a_question_come_back_as_they_were_written() -> None:
    query, data = asked("wEb.Shop.RANCHER.internal")
    assert query.name == "web.shop.rancher.internal"
    said = answers.answer(shop(), None, query)
    assert isinstance(said, Choice)
    assert query.question in answers.whole(query, said, random.shuffle)
    assert query.question == data[12 : 12 + len(query.question)]


def test_what_exists_but_has_nothing_of_the_kind_is_empty_and_what_does_not_exist_is_denied() -> None:
    for kind in ("AAAA", "MX", "TXT"):
        reply = answered("web.shop.rancher.internal", kind)
        assert (reply.rcode(), reply.answer) == (dns.rcode.NOERROR, [])
        assert reply.authority[0].rdtype == dns.rdatatype.SOA
    reply = answered("nobody.shop.rancher.internal", "AAAA")
    assert reply.rcode() == dns.rcode.NXDOMAIN
    assert reply.authority[0].name == dns.name.from_text("rancher.internal")
    assert reply.authority[0].ttl <= 5
    assert answered("rancher.internal", "SOA").answer[0].rdtype == dns.rdatatype.SOA


def test_addresses_of_both_kinds_and_what_is_none() -> None:
    assert addresses(answered("six.shop.rancher.internal")) == ["203.0.113.5"]
    assert addresses(answered("six.shop.rancher.internal", "AAAA")) == ["2001:db8::5"]


def test_addresses_have_names() -> None:
    assert str(answered("1.0.42.10.in-addr.arpa", "PTR").answer[0][0]) == "c1.rancher.internal."
    assert answered("99.0.42.10.in-addr.arpa", "PTR").rcode() == dns.rcode.NXDOMAIN
    assert answered("1.0.42.10.in-addr.arpa", "A").answer == []
    assert answers.answer(shop(), None, asked("1.0.0.127.in-addr.arpa", "PTR")[0]) is None


def test_aliases_within_are_followed_and_those_to_the_outside_say_whom_to_ask() -> None:
    reply = answered("inner.shop.rancher.internal")
    assert [rrset.rdtype for rrset in reply.answer] == [dns.rdatatype.CNAME, dns.rdatatype.A]
    assert len(addresses(reply)) == 3
    assert answered("inner.shop.rancher.internal", "CNAME").answer[0].rdtype == dns.rdatatype.CNAME
    assert answered("round.shop.rancher.internal").rcode() == dns.rcode.SERVFAIL
    assert answered("astray.shop.rancher.internal").rcode() == dns.rcode.NXDOMAIN
    query, _ = asked("ext.shop.rancher.internal")
    said = answers.answer(shop(), None, query)
    assert isinstance(said, Follow)
    assert said.target == "www.example.com"
    outside = dns.message.make_response(dns.message.make_query("www.example.com", "A"))
    outside.answer.append(dns.rrset.from_text("www.example.com.", 60, "IN", "CNAME", "cdn.example.com."))
    outside.answer.append(dns.rrset.from_text("cdn.example.com.", 60, "IN", "A", "203.0.113.1"))
    whole = dns.message.from_wire(answers.followed(query, said.chain, outside.to_wire()))
    assert [str(rrset.name) for rrset in whole.answer] == [
        "ext.shop.rancher.internal.",
        "www.example.com.",
        "cdn.example.com.",
    ]
    assert addresses(whole) == ["203.0.113.1"]


def test_records_with_compressed_names_are_spelled_out() -> None:
    query, _ = asked("ext.shop.rancher.internal", "MX")
    outside = dns.message.make_response(dns.message.make_query("www.example.com", "MX"))
    texts = {
        "MX": "10 mail.example.com.",
        "SOA": "ns.example.com. root.example.com. 1 2 3 4 5",
        "NS": "ns.example.com.",
    }
    for kind, text in texts.items():
        outside.answer.append(dns.rrset.from_text("www.example.com.", 60, "IN", kind, text))
    whole = dns.message.from_wire(answers.followed(query, (), outside.to_wire()))
    assert whole.answer == outside.answer


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("web.shop.rancher.internal", "ANY", dns.rcode.REFUSED),
        ("rancher.internal", "AXFR", dns.rcode.REFUSED),
        ("rancher.internal", "IXFR", dns.rcode.REFUSED),
    ],
)
def test_kinds_that_are_refused(name: str, kind: str, code: dns.rcode.Rcode) -> None:
    query, _ = asked(name, kind)
    said = answers.answer(shop(), None, query)
    assert said is not None
    assert said[0] == code


def test_other_classes_operations_and_versions_are_refused() -> None:
    def code(message: dns.message.Message) -> dns.rcode.Rcode:
        query = packets.read_query(message.to_wire())
        said = answers.answer(shop(), None, query)
        assert isinstance(said, answers.Fixed)
        return dns.message.from_wire(packets.response(query, said.code)).rcode()

    assert code(dns.message.make_query("version.bind", "TXT", "CH")) == dns.rcode.REFUSED
    status = dns.message.make_query("web.shop", "A")
    status.set_opcode(dns.opcode.STATUS)
    assert code(status) == dns.rcode.NOTIMP
    assert code(dns.message.make_query("web.shop", "A", use_edns=1)) == dns.rcode.BADVERS
    unasked = dns.message.make_query("www.example.com", "A")
    unasked.flags &= ~dns.flags.RD
    assert code(unasked) == dns.rcode.REFUSED


def test_many_addresses_are_cut_to_what_the_client_takes_and_come_whole_over_tcp() -> None:
    many = shop(500)
    for options, most in (({}, 512), ({"use_edns": 0, "payload": 900}, 900), ({"use_edns": 0, "payload": 65535}, 1232)):
        reply = answered("web.shop.rancher.internal", names=many, **options)
        assert reply.flags & dns.flags.TC
        assert most - 16 <= len(reply.to_wire()) <= most
        assert len(set(addresses(reply))) == len(addresses(reply)) > 20
        assert reply.edns == (0 if options else -1)
    query, _ = asked("web.shop.rancher.internal")
    said = answers.answer(many, None, query)
    assert isinstance(said, Choice)
    whole = dns.message.from_wire(answers.whole(query, said, random.shuffle))
    assert len(addresses(whole)) == 500
    assert not whole.flags & dns.flags.TC


@pytest.mark.parametrize("count", [2, 3, 40, 200])
def test_every_address_comes_first_equally_often(count: int) -> None:
    query, _ = asked("web.shop.rancher.internal")
    said = answers.answer(shop(count), None, query)
    assert isinstance(said, Choice)
    ready = answers.prepared(query, said, random.Random(3).shuffle)
    assert isinstance(ready, answers.Turning)
    steps = count * len(ready.orders)
    first = [answers.turned(ready, (n + 0.5) / steps)[len(ready.head) :][:16] for n in range(steps)]
    assert {first.count(record) for record in said.records} == {len(ready.orders)}
    assert set(first) == set(said.records)
    for n in range(steps):
        reply = dns.message.from_wire(b"\0\1" + answers.turned(ready, (n + 0.5) / steps))
        found = addresses(reply)
        assert len(set(found)) == len(found) == min(count, (512 - len(ready.head) - 2) // 16)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(b"\1\2\1\0\0\0\0\0\0\0\0\0", packets.FORMERR, id="no question"),
        pytest.param(b"\1\2\1\0\0\2\0\0\0\0\0\0\0\0\1\0\1\0\0\1\0\1", packets.REFUSED, id="two questions"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\0\3ab", packets.FORMERR, id="a short label"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\0\xc0\x0c\0\1\0\1", packets.FORMERR, id="a pointer to itself"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\0\x80\0\0\1\0\1", packets.FORMERR, id="an unknown label"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\0\0\0\1", packets.FORMERR, id="half a kind"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\1\0\0\1\0\1\0\0\x29", packets.FORMERR, id="half an option"),
        pytest.param(b"\1\2\1\0\0\1\0\0\0\0\0\0" + b"\x3f" + b"a" * 63 * 5, packets.FORMERR, id="a long name"),
    ],
)
def test_what_cannot_be_read_is_said_to_be_so(data: bytes, code: int) -> None:
    with pytest.raises(Malformed) as caught:
        packets.read_query(data)
    reply = packets.refusal(data, caught.value.code)
    assert reply[:2] == b"\1\2"
    assert dns.message.from_wire(reply).rcode() == code


def test_names_that_point_in_a_circle_end() -> None:
    header = struct.pack("!HHHHHH", 1, 0x8180, 0, 1, 0, 0)
    for name in (b"\xc0\x0c", b"\1a\xc0\x0c", b"\xc0\x0e\xc0\x0c"):
        with pytest.raises(Malformed):
            list(packets.records(header + name + struct.pack("!HHIH", 1, 1, 1, 4) + bytes(4)))


def test_answers_are_never_answered() -> None:
    assert packets.refusal(b"\1\2\x80" + bytes(9), packets.FORMERR) == b""
    assert packets.refusal(b"\1\2", packets.FORMERR) == b""


def test_a_dot_within_a_label_is_not_a_boundary() -> None:
    data = b"\0\1\1\0\0\1\0\0\0\0\0\0" + b"\x08web.shop\x07rancher\x08internal\0\0\1\0\1"
    said = answers.answer(shop(), None, packets.read_query(data))
    assert isinstance(said, answers.Fixed)
    assert said.code == packets.NXDOMAIN


EMPTY = Names(Scene(), META)


@given(st.binary(max_size=600))
@example(asked("web.shop", use_edns=0)[1])
def test_no_message_breaks_the_reader(data: bytes) -> None:
    query, code = None, 0
    try:
        query = packets.read_query(data)
    except Malformed as error:
        code = error.code
    if query is None:
        reply = packets.refusal(data, code)
        assert not reply or dns.message.from_wire(reply).rcode() == code
        return
    said = answers.answer(EMPTY, None, query)
    if said is not None and not isinstance(said, Follow):
        assert len(answers.whole(query, said, random.shuffle)) >= packets.HEADER


@given(st.data())
def test_no_damage_to_a_real_message_breaks_the_reader(data: st.DataObject) -> None:
    whole = bytearray(asked("web.shop.rancher.internal", use_edns=0, want_dnssec=True)[1])
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    message = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        query = packets.read_query(message)
    except Malformed:
        return
    answers.answer(EMPTY, None, query)


@given(st.binary(max_size=300))
def test_no_response_of_others_breaks_the_reader(data: bytes) -> None:
    try:
        found = list(packets.records(data))
    except Malformed:
        return
    for record in found:
        assert record.write()


LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=63)


@given(st.lists(LABEL, max_size=8).map(".".join).filter(lambda name: len(name) < 250))
def test_names_are_read_as_they_were_written(name: str) -> None:
    assert packets.read_name(packets.write_name(name), 0) == (name, len(packets.write_name(name)))


@given(st.integers(0, 0xFFFF), st.booleans(), st.integers(0, 0xFFFF))
def test_edns_is_read_as_another_library_writes_it(number: int, signatures: bool, payload: int) -> None:
    message = dns.message.make_query("a.b", "A", use_edns=0, want_dnssec=signatures, payload=payload, id=number)
    message.use_edns(0, message.ednsflags, payload, options=[dns.edns.GenericOption(10, b"12345678")])
    query = packets.read_query(message.to_wire())
    assert (query.id, query.edns, query.wants_signatures) == (number, True, signatures)
    assert query.room == max(512, min(payload, 1232))
    passed_on = dns.message.from_wire(packets.request(query, b"\0\1", edns=True))
    assert passed_on.question == message.question
    assert passed_on.options == ()
