"""An independent STUN/TURN client, written from RFC 8489, RFC 8656 and RFC 6062; standard library only.

A relayed TCP address, the short way:

    from turnclient import TcpAllocation

    with TcpAllocation(("192.0.2.1", 3478), "user", "password") as relay:
        print(relay.relayed)                          # Address(ip, port)
        relay.permit("198.51.100.7")
        peer, connection_id = relay.wait_attempt()    # somebody dialled the relayed address
        sock = relay.bind(connection_id)              # an ordinary socket that leads to the peer
        other = relay.connect(("198.51.100.7", 80))   # the other way round

A relayed UDP address: `UdpAllocation` with `permit`, `send`, `recv`, `bind_channel`, `send_channel`, `recv_channel`.
Below that: `Client` (one transport, requests, indications), `Message` (any bytes one wants), `Credential`.

From the shell: `python3 -m turnclient expose --server HOST:PORT --user U:P --permit IP --to 127.0.0.1:PORT`
prints `relayed ADDR:PORT`, keeps the allocation and the permission alive, leads each peer to the local
service, and on SIGTERM prints one JSON line: connections, bytes to_peer and from_peer.
"""

from .allocation import (
    Allocation, TcpAllocation, UdpAllocation, allocate_request, bind_request, peer_request, taken_socket,
)
from .client import Client, NoAnswer, Refused
from .credential import Credential, make_key, rest_user, security_bits, user_hash
from .stun import At, Attribute, Cls, Message, Method, StunError
from .transport import Closed, Dtls, Tcp, Tls, Transport, Udp, careless_context, end_writing, open_transport
from .value import Address

__all__ = [
    "Address", "Allocation", "At", "Attribute", "Client", "Closed", "Cls", "Credential", "Dtls", "Message", "Method",
    "NoAnswer", "Refused", "StunError", "Tcp", "TcpAllocation", "Tls", "Transport", "Udp", "UdpAllocation",
    "allocate_request", "bind_request", "careless_context", "end_writing", "make_key", "open_transport",
    "peer_request", "rest_user", "security_bits", "taken_socket", "user_hash",
]
