"""What ``POST /images/create`` says while it works, folded into a percentage and a sentence. Pure.

Docker tells bytes per layer and never the number of layers, so the percentage may only be an estimate: it weighs the
layers heard of so far, downloading for three quarters and extracting for the rest, and never goes backwards.
"""

from __future__ import annotations

from typing import Any

_DONE = {"Pull complete", "Already exists"}
_DOWNLOADED = {"Verifying Checksum", "Download complete"}


class PullProgress:
    """Feed it every document of a pull; read ``percent`` and ``sentence``. ``error`` is set when Docker gave up."""

    def __init__(self, image: str) -> None:
        self.image = image
        self.percent = 0
        self.error = ""
        self._layers: dict[str, float] = {}

    @property
    def sentence(self) -> str:
        """What to show a person."""
        if not self._layers:
            return f"Pulling {self.image}"
        done = sum(1 for share in self._layers.values() if share >= 1)
        return f"Pulling {self.image}: {done} of {len(self._layers)} layers"

    def feed(self, document: dict[str, Any]) -> bool:
        """Take one document in; True when there is something new to show."""
        if "error" in document:
            self.error = str(document["error"])
            return True
        before = (self.percent, self.sentence)
        layer, status = document.get("id"), str(document.get("status", ""))
        if isinstance(layer, str) and not status.startswith("Pulling from"):
            share = _share(status, document.get("progressDetail") or {})
            if share is not None:
                self._layers[layer] = max(share, self._layers.get(layer, 0.0))
        if self._layers:
            self.percent = max(self.percent, int(99 * sum(self._layers.values()) / len(self._layers)))
        return (self.percent, self.sentence) != before


def _share(status: str, detail: dict[str, Any]) -> float | None:
    if status in _DONE:
        return 1.0
    if status in _DOWNLOADED:
        return 0.75
    total = detail.get("total") or 0
    ratio = min(1.0, (detail.get("current") or 0) / total) if total else 0.0
    if status == "Downloading":
        return 0.75 * ratio
    if status == "Extracting":
        return 0.75 + 0.25 * ratio
    return 0.0 if status in {"Pulling fs layer", "Waiting"} else None


def reference(image: str) -> dict[str, str]:
    """The query of a pull: repository and tag, ``latest`` when none is named (else Docker would pull every tag)."""
    if "@" in image:
        return {"fromImage": image}
    repository, colon, tag = image.rpartition(":")
    if not colon or "/" in tag:
        return {"fromImage": image, "tag": "latest"}
    return {"fromImage": repository, "tag": tag}
