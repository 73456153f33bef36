"""A git repository with a catalog, for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

FIRST = {
    "templates/shop/config.yml": "name: Shop\nversion: v1.0.0\ncategory: Trade\ndescription: Sells things\n",
    "templates/shop/catalogIcon-shop.svg": "<svg xmlns='http://www.w3.org/2000/svg'/>",
    "templates/shop/README.md": "# Shop",
    "templates/shop/0/docker-compose.yml.tpl": (
        "version: '2'\nservices:\n  web:\n    image: nginx:${TAG}\n"
        "{{- if eq .Values.DB \"yes\" }}\n  db:\n    image: mysql\n{{- end }}\n"
    ),
    "templates/shop/0/rancher-compose.yml": (
        "version: '2'\ncatalog:\n  name: Shop\n  version: v1.0.0\n  questions:\n"
        "  - {variable: TAG, type: string, default: '1.7', required: true}\n"
        "  - {variable: DB, type: enum, options: ['yes', 'no'], default: 'yes'}\n"
        "services:\n  web: {scale: 2}\n"
    ),
    "infra-templates/net/config.yml": "name: Net\nversion: v1\ncategory: Networking\n",
    "infra-templates/net/0/docker-compose.yml": "a: {image: b}\n",
    "kubernetes-templates/k/config.yml": "name: K\nversion: v1\n",
    "kubernetes-templates/k/0/docker-compose.yml": "a: {image: b}\n",
    "templates/old/config.yml": "name: Old\nversion: v1\n",
    "templates/old/0/docker-compose.yml": "a: {image: b}\n",
    "templates/old/0/rancher-compose.yml": ".catalog: {version: v1, maximum_rancher_version: v1.5.0}\n",
}  # fmt: skip
SECOND = {
    "templates/shop/config.yml": "name: Shop\nversion: v1.1.0\ncategory: Trade\ndescription: Sells things\n",
    "templates/shop/1/docker-compose.yml": "version: '2'\nservices:\n  web:\n    image: nginx:2\n",
    "templates/shop/1/rancher-compose.yml": (
        "version: '2'\ncatalog: {version: v1.1.0, upgrade_from: '>=v1.0.0'}\nservices:\n  web: {scale: 2}\n"
    ),
}


class Repository:
    """A git repository of this test."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.git("init", "-q", "-b", "main", str(place))

    def git(self, *words: str) -> None:
        name = ("-c", "user.name=Test", "-c", "user.email=test@example.test")
        place = () if words[0] == "init" else ("-C", str(self.place))
        subprocess.run(["git", *name, *place, *words], check=True, capture_output=True)

    def commit(self, files: Mapping[str, str]) -> None:
        for path, text in files.items():
            file = self.place / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        self.git("add", "-A")
        self.git("commit", "-q", "-m", "files")

    @property
    def url(self) -> str:
        return f"file://{self.place}"
