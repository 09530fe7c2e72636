"""Names of hosts, as the OpenSSH client takes them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgeprune.errors import EdgepruneError

NAME = re.compile(r"(ssh://)?[\w.@:%+=,\[\]][\w.@:%+=,\[\]-]*")
"""Nothing that a shell reads as more than a name, since a user's ProxyCommand may hand it to one; no option either."""


def refuse_hosts(hosts: Sequence[str]) -> None:
    """Refuse what is no host's name, and a host that is named twice.

    Raises:
        EdgepruneError: the first such name.
    """
    for host in hosts:
        if not NAME.fullmatch(host):
            raise EdgepruneError(
                f"{host!r} is no host. Give USER@HOST, a name of your ssh configuration, or ssh://USER@HOST:PORT."
            )
        if hosts.count(host) > 1:
            raise EdgepruneError(f"{host} is named twice. Name every host once.")


def host_folder(host: str) -> str:
    """A host's name as a folder's."""
    name = host.removeprefix("ssh://")
    return "".join(letter if letter.isalnum() or letter in "-_.@" else "-" for letter in name).strip(".") or "host"
