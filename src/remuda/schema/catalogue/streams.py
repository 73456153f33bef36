"""Types of what is live: subscriptions, and the ways to a container's or host's own bytes. What is published here, and what
actions on the way there take, is as 1.x described it."""

from __future__ import annotations

from remuda.schema.fields import LIST, Field, ResourceType

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="subscribe",
        plural="subscribe",
        scope="installation",
        fields=(
            Field(
                name="eventNames",
                type=LIST,
                create=True,
                nullable=False,
                min_length=1,
                valid_chars="*._0-9a-zA-Z;=",
                description="resource.change, service.*: what to be told of",
            ),
        ),
        description="Open a WebSocket here, or POST for an answer that does not end.",
    ),
    ResourceType(id="hostAccess", fields=(Field(name="url"), Field(name="token"))),
    ResourceType(id="statsAccess", fields=(Field(name="url"), Field(name="token"))),
)
