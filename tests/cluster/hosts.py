"""Several hosts on one machine: a network namespace and a raylet each, joined by a bridge; else Ray's own test cluster.

Making namespaces takes root on a Linux that allows it. Where it does not, `ray.cluster_utils.Cluster` gives raylets
that share one network.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Protocol

PORT = 6379
_SLOW_S = 120.0


class Hosts(Protocol):
    """What a test asks of its cluster; the first host that is added is the head."""

    address: str

    def add(self, resources: Mapping[str, float], cpus: int) -> None:
        """Starts one more host; it runs when this returns."""

    def stop(self) -> None:
        """Ends every process of every host."""


class Network:
    """Network namespaces with an address each and a bridge between them.

    Attributes:
        names: of the namespaces.
        addresses: their IPv4 addresses.
    """

    def __init__(self, size: int) -> None:
        number = os.getpid() % 60_000
        net = f"10.{number // 250}.{number % 250}"
        self._bridge = f"rb{number}"
        self.names = [f"rh{number}_{i}" for i in range(size)]
        self.addresses = [f"{net}.{i + 1}" for i in range(size)]

    def make(self) -> None:
        """Makes them.

        Raises:
            OSError: there is no ``ip`` command, or the kernel does not allow it.
        """
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("link", "set", self._bridge, "up")
        for i, (name, address) in enumerate(zip(self.names, self.addresses, strict=True)):
            end = f"{self._bridge}v{i}"
            _ip("netns", "add", name)
            _ip("link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", end, "master", self._bridge, "up")
            _ip("-n", name, "addr", "add", f"{address}/24", "dev", "eth0")
            for device in ("eth0", "lo"):
                _ip("-n", name, "link", "set", device, "up")

    def remove(self) -> None:
        """Takes away what was made, as far as it was, and ends what still runs there."""
        for name in self.names:
            with contextlib.suppress(OSError):
                for pid in _ip("netns", "pids", name).split():
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(int(pid), signal.SIGKILL)
                _ip("netns", "del", name)
        with contextlib.suppress(OSError):
            _ip("link", "del", self._bridge)


def _ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


@contextlib.contextmanager
def network(size: int) -> Iterator[Network]:
    """Makes a network for the block.

    Raises:
        OSError: as of `Network.make`.
    """
    made = Network(size)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def token_environment(home: Path) -> dict[str, str]:
    """Returns variables by which Ray demands a token of every process, and knows it.

    Args:
        home: a folder that stands in for the user's home.
    """
    token = home / ".ray" / "auth_token"
    token.parent.mkdir(parents=True, exist_ok=True)
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    return {"HOME": str(home), "RAY_AUTH_MODE": "token"}


class NamespaceHosts:
    """`ray start` in one network namespace after the other; this process must be in the first of them.

    ``RAY_TMPDIR`` must name a folder for Ray alone.

    Args:
        names: of the namespaces.
        addresses: theirs.
    """

    def __init__(self, names: Sequence[str], addresses: Sequence[str]) -> None:
        self._left = list(zip(names, addresses, strict=True))
        self.address = f"{addresses[0]}:{PORT}"
        self._processes: list[subprocess.Popen[str]] = []

    def add(self, resources: Mapping[str, float], cpus: int) -> None:
        """Starts Ray in the next namespace and returns when it runs: several at once run out of their time to start.

        Raises:
            RuntimeError: it does not start.
        """
        name, address = self._left.pop(0)
        head = not self._processes
        where = ["--head", f"--port={PORT}", "--include-dashboard=false"] if head else [f"--address={self.address}"]
        given = ",".join(f'"{key}": {value}' for key, value in resources.items())
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, "--block"]
        command += [f"--node-ip-address={address}", f"--num-cpus={cpus}", f"--resources={{{given}}}"]
        command += ["--object-store-memory=80000000", "--disable-usage-stats"]
        if not head:  # sockets and logs in a folder of its own, under the same name; what ip makes shows nowhere else
            shared = Path(os.environ["RAY_TMPDIR"])
            own = shared.with_name(name)
            own.mkdir()
            command = ["sh", "-c", f'mount --bind "{own}" "{shared}" && exec "$@"', "host", *command]
        process = subprocess.Popen(
            ["ip", "netns", "exec", name, *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._processes.append(process)
        said = []
        assert process.stdout is not None
        for line in process.stdout:
            said.append(line)
            if "--block" in line:  # the last that it says once all runs
                return
        raise RuntimeError("".join(said[-20:]))

    def stop(self) -> None:
        """Has every host's Ray end; what does not is ended with the network."""
        for process in reversed(self._processes):
            process.terminate()
        for process in self._processes:
            process.wait(timeout=_SLOW_S)


class ClusterHosts:
    """Raylets on one network, by Ray's own class for tests."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._cluster = Cluster()
        self.address = ""

    def add(self, resources: Mapping[str, float], cpus: int) -> None:
        """Starts one more raylet and returns when it runs."""
        options = {} if self.address else {"include_dashboard": False}
        self._cluster.add_node(num_cpus=cpus, resources=dict(resources), object_store_memory=80_000_000, **options)
        self.address = self._cluster.address

    def stop(self) -> None:
        """Ends every process of every raylet."""
        self._cluster.shutdown()
