"""Types by which 1.x showed its processes: the graph of states, and what is on its way in it."""

from __future__ import annotations

from remuda.core import running
from remuda.schema.fields import DATE, INT, Field, ResourceType, reference

_ID = Field(name="id", computed=True)

TYPES: tuple[ResourceType, ...] = (
    ResourceType(
        id="processDefinition",
        record=running.DefinitionRow,
        scope="installation",
        fields=(
            _ID,
            Field(name="name"),
            Field(name="resourceType"),
            Field(name="extensionBased", type="boolean", nullable=False, computed=True),
            Field(name="stateTransitions", type="array[stateTransition]", nullable=False, computed=True),
            Field(name="processHandlers", type="extensionPoint", computed=True),
            Field(name="preProcessListeners", type="extensionPoint", computed=True),
            Field(name="postProcessListeners", type="extensionPoint", computed=True),
        ),
        description="By which states a kind of resource goes from one to another.",
    ),
    ResourceType(
        id="stateTransition",
        fields=(
            Field(name="fromState"),
            Field(name="toState"),
            Field(name="field"),
            Field(name="type", type="enum", options=("TRANSITIONING", "DONE")),
        ),
    ),
    ResourceType(
        id="resourceDefinition",
        record=running.ResourceRow,
        scope="installation",
        fields=(_ID, Field(name="name", nullable=False)),
        description="A kind of resource whose states have a published graph.",
    ),
    ResourceType(
        id="processInstance",
        record=running.ProcessRow,
        scope="installation",
        fields=(
            _ID,
            Field(name="accountId", type=reference("account")),
            Field(name="processName"),
            Field(name="resourceType"),
            Field(name="resourceId"),
            Field(name="phase", description="RUNNING, or WAITING for what exitReason says"),
            Field(name="priority", type=INT),
            Field(name="exitReason"),
        ),
        description="Something on its way to what is wanted of it; gone when it is there.",
    ),
    ResourceType(
        id="processExecution",
        record=running.ExecutionRow,
        scope="installation",
        fields=(
            _ID,
            Field(name="uuid"),
            Field(name="created", type=DATE),
            Field(name="processInstanceId", type=reference("processInstance")),
            Field(name="log", type="map[json]"),
        ),
        description="What was done lately to something on its way.",
    ),
    ResourceType(
        id="processSummary",
        plural="processSummaries",
        record=running.SummaryRow,
        scope="installation",
        fields=(
            _ID,
            Field(name="processName"),
            Field(name="running", type=INT),
            Field(name="ready", type=INT),
            Field(name="delay", type=INT, description="How many cannot go on"),
        ),
        description="How many are in the same process.",
    ),
)
