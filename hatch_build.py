"""Put the built user interface into the wheel, so that installing Remuda needs Python and nothing else.

Building the interface needs Node; a source distribution carries the result, and so does a checkout where ``make ui``
has run: then nothing is done here. An editable install never builds: whoever develops runs ``make ui``.
``REMUDA_SKIP_UI=1`` makes a wheel without the interface (the server then says so at ``/``).
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class UserInterfaceHook(BuildHookInterface):  # type: ignore[type-arg,misc,unused-ignore]
    """Runs ``scripts/ui-build`` before a wheel or source distribution is packed, if it has not run yet."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects files."""
        root = Path(self.root)
        page = root / "src" / "remuda" / "static" / "index.html"
        if version == "editable" or page.exists() or os.environ.get("REMUDA_SKIP_UI") == "1":
            return
        if not (root / "ui" / "package-lock.json").exists():
            raise RuntimeError("The user interface is neither built (src/remuda/static) nor here to be built (ui/).")
        self.app.display_info("Building the user interface (scripts/ui-build)")
        subprocess.run([str(root / "scripts" / "ui-build")], cwd=root, check=True)
        if not page.exists():
            raise RuntimeError(f"scripts/ui-build ended without error, but {page} is not there.")
