"""Which network learners of several processes sum their gradients over."""

from __future__ import annotations

import fcntl
import os
import socket
import struct

import ray

_SIOCGIFADDR = 0x8915  # Linux: the IPv4 address of an interface
_GLOO = "GLOO_SOCKET_IFNAME"


def interface_of(address: str) -> str | None:
    """Returns the network interface of this machine that has an IPv4 address; None if none has."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(any_socket, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:  # it has no address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


def meet_where_ray_does() -> None:
    """Has gloo connect learners by the address that this node has in Ray, unless the user names an interface.

    Left alone it takes the one that the machine's name stands for: often 127.0.1.1, which Debian writes into
    /etc/hosts, and by which no other node is reached.
    """
    name = interface_of(ray.util.get_node_ip_address())
    if name is not None:
        os.environ.setdefault(_GLOO, name)
