"""Types of what speaks for hosts: agents, and the tasks that administrators may hurry."""

from __future__ import annotations

from remuda.core.model import Agent
from remuda.schema.fields import ADMIN, Action, Field, Link, ResourceType, common, reference

PING = "agent.ping"
"""The one task that can be asked for by hand."""

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="agent",
        record=Agent,
        scope="account",
        fields=(
            *common(
                uuid=Field(name="uuid", max_length=128, grants={ADMIN: "c"}),
                accountId=Field(name="accountId", type=reference("account"), grants={ADMIN: "c"}),
                data=Field(
                    name="data",
                    type="map[json]",
                    only=(ADMIN,),
                    grants={ADMIN: "c"},
                    description="What its machine is like",
                ),
            ),
            Field(
                name="uri",
                grants={ADMIN: "c"},
                max_length=255,
                description="sim://... for a simulated host, else empty",
            ),
            Field(name="hostId", type=reference("host")),
        ),
        actions=(
            Action(name="activate", states=("inactive",), description="Let a simulated machine be reached again."),
            Action(name="deactivate", states=("active",), description="Let a simulated machine fall silent."),
            Action(name="reconnect", description="Let a simulated machine be reached again."),
            Action(name="disconnect", description="Let a simulated machine fall silent."),
            Action(name="remove", description="Remove its host."),
        ),
        links=(Link(name="hosts", type="host", field="agentId"),),
        description="Who speaks for a host. Agents register themselves; only those of simulated hosts can be made.",
    ),
)
