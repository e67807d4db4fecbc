"""Where the wallet listens: only this machine, unless somebody insists, and only a free port."""

import errno
import socket

from runtime.process import Unfit
from runtime.settings import is_loopback, resolve

INSECURE_WARNING = (
    "WARNING: EWALLET_INSECURE=1: everybody who reaches {host} can move every account's money: "
    "the wallet does not authenticate its clients"
)


def check_host(host: str, *, insecure: bool) -> str | None:
    """Return the warning to show before listening on `host`, or None when none is due.

    Raises Unfit for a host that does not resolve, and for one that other machines
    may reach unless `insecure` is set: there is no authentication yet.
    """
    if is_loopback(host):
        return None
    if insecure:
        return INSECURE_WARNING.format(host=host)
    raise Unfit(
        f"{host} is not a loopback address and the wallet does not authenticate its clients yet: "
        "listen on 127.0.0.1, or set EWALLET_INSECURE=1 if everybody who reaches this address "
        "may move the money"
    )


def take_http_port(host: str, port: int) -> int:
    """Return `port` if nobody listens on it at `host`; 0 asks for any free one.

    The proxies share the port with SO_REUSEPORT. The probe binds without it, so it fails also
    against another wallet's proxies. Until this process ends the kernel gives the port to no
    outgoing connection, also while no proxy listens. Raises Unfit.
    """
    family, address = resolve(host)[0]
    with (
        socket.socket(family, socket.SOCK_STREAM) as probe,
        socket.socket(family, socket.SOCK_STREAM) as kept,
    ):
        for each in (probe, kept):
            each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        kept.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            probe.bind((address, port))
            probe.listen(1)
            taken = int(probe.getsockname()[1])
            probe.close()
            kept.bind((address, taken))
        except OSError as fault:
            raise Unfit(_why_not(host, port, fault)) from fault
        kept.detach()  # nobody closes it
        return taken


def free_loopback_ports(count: int) -> list[int]:
    """Return `count` different TCP ports of 127.0.0.1 that were free a moment ago."""
    probes = [socket.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def http_url(host: str, port: int) -> str:
    """Return the URL that a client on this machine types."""
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _why_not(host: str, port: int, fault: OSError) -> str:
    if fault.errno == errno.EADDRINUSE:
        return (
            f"Port {port} on {host} is in use by another program: "
            "stop that program, or choose another port with --http-port or EWALLET_HTTP_PORT"
        )
    return f"Port {port} on {host} cannot be listened on: {fault.strerror}"
