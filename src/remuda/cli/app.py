"""The command tree. Commands are imported with it, but nothing heavy is: HTTP, YAML and colours come when first used."""

from __future__ import annotations

from cyclopts import App, Parameter

from remuda import __version__
from remuda.cli.commands import (
    account,
    catalog,
    change,
    cluster,
    containers,
    environments,
    health,
    hosts,
    listing,
    network,
    secrets,
    up,
    volumes,
)
from remuda.cli.errors import CODES

EPILOGUE = f"""Options of every command:
  --url URL            the server; also RANCHER_URL or REMUDA_URL, or `remuda login`
  --access-key KEY     API key; also RANCHER_ACCESS_KEY
  --secret-key KEY     its secret; also RANCHER_SECRET_KEY
  --env NAME           environment, by name or id; also RANCHER_ENVIRONMENT
  --ca FILE            certificate of a private authority; also REMUDA_CA
  --format table|json  how results look
  -q, --quiet          only ids, no remarks

Names: an id (1s5), a name, stack/service, stack/service/n, a container's name or Docker id.
Exit codes: {CODES}; exec: the command's own.

Parts of the installation, each with a --help of its own: remuda server, agent, ha-node, admin.
"""


def build() -> App:
    """The whole tree."""
    root = App(
        name="remuda",
        help="Remuda: stacks of containers on plain Docker hosts.",
        version=__version__,
        help_epilogue=EPILOGUE,
        help_format="plaintext",
        result_action="return_value",
        default_parameter=Parameter(negative=(), show_default=False),
    )
    root.command(up.up, name="up", group="Stacks")
    root.command(listing.stacks, name="stacks", group="Stacks")
    root.command(listing.export, name="export", group="Stacks")
    root.command(catalog.app)
    root.command(listing.ps, name="ps", group="Services and containers")
    root.command(containers.logs, name="logs", group="Services and containers")
    root.command(containers.exec_, name="exec", group="Services and containers")
    root.command(change.scale, name="scale", group="Services and containers")
    root.command(change.start, name="start", group="Services and containers")
    root.command(change.stop, name="stop", group="Services and containers")
    root.command(change.restart, name="restart", group="Services and containers")
    root.command(change.rm, name="rm", group="Services and containers")
    root.command(health.health, name="health", group="Services and containers")
    root.command(listing.wait, name="wait", group="Services and containers")
    root.command(listing.inspect, name="inspect", group="Services and containers")
    root.command(listing.events, name="events", group="Services and containers")
    root.command(volumes.app)
    root.command(hosts.app)
    root.command(environments.app)
    root.command(network.app)
    root.command(secrets.secrets)
    root.command(secrets.registries)
    root.command(secrets.pull, name="pull", group="Installation")
    root.command(cluster.app)
    root.command(account.login, name="login", group="Connection")
    root.command(account.settings_app)
    root.command(account.version, name="version", group="Connection")
    return root
