"""``remuda network``: what the network of an environment is, who may talk to whom, and why something does not pass."""

from __future__ import annotations

from typing import Annotated

from cyclopts import App, Parameter

from remuda.cli.client import Json
from remuda.cli.errors import USAGE, CliError
from remuda.cli.session import current

app = App(
    name="network",
    group="Installation",
    help="The managed network: show (the default), why, set, policy, rotate-key, addresses.",
)
REFUSED_EXIT = 1


def _network() -> Json:
    found = current().api.fetch("network")
    if not found:
        raise CliError("this environment has no network yet: it comes with the first host", USAGE)
    return found[0]


@app.default
@app.command
def show() -> None:
    """Show the network and the hosts that are part of it."""
    session = current()
    network = _network()
    if session.output.form == "json":
        session.output.document(network)
        return
    rules = [_rule(rule) for rule in network.get("policy") or []]
    rows = [
        ("subnet", network["subnet"]),
        ("encryption", network["encryption"]),
        ("MTU of containers", network.get("mtuInUse") or "not known yet"),
        ("public ports", f"{network['portFirst']}-{network['portLast']}"),
        ("key", network.get("keyGeneration") or "none yet"),
        ("policy", "; ".join([*rules, f"else {network['defaultPolicyAction']}"])),
    ]
    session.output.table(("NETWORK", network["id"]), rows, [network])
    hosts = sorted(session.names.all("host"), key=lambda host: str(host.get("hostname")))
    shown = [
        (h["id"], h.get("name") or h.get("hostname"), h.get("networkState"), h.get("networkIp"), h.get("agentIpAddress"),
         h.get("networkMessage")) for h in hosts
    ]  # fmt: skip
    session.output.table(("HOST", "NAME", "NETWORK", "ADDRESS", "REACHED AT", "DETAIL"), shown, hosts)


def _rule(rule: Json) -> str:
    between = (rule.get("between") or {}).get("groupBy")
    return f"{rule['action']} {f'between {between}' if between else 'within ' + str(rule.get('within'))}"


@app.command
def why(source: str, target: str, /, *, port: int | None = None) -> None:
    """Say why a packet from one container reaches another one, or does not. Exit code 1 when it does not.

    Parameters
    ----------
    source
        The container that asks.
    target
        The container that is asked.
    port
        A port of it, as published or as it is within the container.
    """
    session = current()
    ends: Json = {"source": source, "target": target}
    if port is not None:
        ends["port"] = port
    answer = session.api.action(_network(), "explain", ends)
    if session.output.form == "json":
        session.output.document(answer)
    else:
        for step in answer["steps"]:
            session.output.line(f"{'ok  ' if step['good'] else 'STOP'}  {step['text']}")
        session.output.line(str(answer["because"]))
    if not answer["passes"]:
        raise SystemExit(REFUSED_EXIT)


@app.command(name="set")
def set_(
    *, encryption: str | None = None, subnet: str | None = None, mtu: int | None = None, ports: str | None = None
) -> None:
    """Change the network.

    Parameters
    ----------
    encryption
        ipsec or plain: how traffic between hosts goes.
    subnet
        Addresses of containers, e.g. 10.42.0.0/16; only while none is in use.
    mtu
        MTU of containers; 0 = worked out from the hosts' links.
    ports
        Range for public ports that nobody chose, e.g. 49153-65535.
    """
    changes: Json = {k: v for k, v in (("encryption", encryption), ("subnet", subnet), ("mtu", mtu)) if v is not None}
    if ports is not None:
        first, dash, last = ports.partition("-")
        if not (dash and first.isdecimal() and last.isdecimal()):
            raise CliError(f"--ports is a range such as 49153-65535, not {ports!r}", USAGE)
        changes |= {"portFirst": int(first), "portLast": int(last)}
    if not changes:
        raise CliError("nothing to change: give --encryption, --subnet, --mtu or --ports", USAGE)
    session = current()
    session.api.update(_network(), **changes)
    session.output.say("changed; hosts follow within seconds")


@app.command
def policy(
    *rules: str, default: Annotated[str | None, Parameter(name="--default")] = None, clear: bool = False
) -> None:
    """Say who may talk to whom. The first rule that fits decides; else the default does.

    Parameters
    ----------
    rules
        allow:stack, allow:service, allow:linked, allow:between=LABEL, or with deny; they replace those there are.
    default
        allow or deny.
    clear
        Take all rules out.
    """
    changes: Json = {}
    if default is not None:
        changes["defaultPolicyAction"] = default
    if rules or clear:
        changes["policy"] = [_parsed(rule) for rule in rules]
    if not changes:
        raise CliError("nothing to change: give rules, --default or --clear", USAGE)
    session = current()
    changed = session.api.update(_network(), **changes)
    words = [_rule(rule) for rule in changed.get("policy") or []]
    session.output.say("; ".join([*words, f"else {changed['defaultPolicyAction']}"]))


def _parsed(text: str) -> Json:
    action, _, what = text.partition(":")
    kind, _, label = what.partition("=")
    if action in ("allow", "deny") and kind == "between" and label:
        return {"action": action, "between": {"groupBy": label}}
    if action in ("allow", "deny") and kind in ("stack", "service", "linked") and not label:
        return {"action": action, "within": kind}
    raise CliError(f"{text!r} is no rule: write allow:stack, deny:service, allow:linked or allow:between=LABEL", USAGE)


@app.command(name="rotate-key")
def rotate_key() -> None:
    """Make a new key for the tunnels between hosts; nothing that is under way is interrupted."""
    session = current()
    session.api.action(_network(), "rotatekey", repeat=False)
    session.output.say("a new key is made; `remuda network` shows it once all hosts use it")


@app.command
def addresses() -> None:
    """List the addresses that have an owner."""
    session = current()
    found = session.api.fetch("ipAddress")
    owners = {f"instance/{c['uuid']}": c["name"] for c in session.names.all("container")}
    owners |= {f"host/{h['id'][2:]}": f"host {h.get('name') or h.get('hostname')}" for h in session.names.all("host")}
    rows = [(a["address"], owners.get(a["owner"], a["owner"]), a["pool"]) for a in found]
    session.output.table(("ADDRESS", "OWNER", "POOL"), rows, found)
