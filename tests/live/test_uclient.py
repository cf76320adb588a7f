"""coturn's own client, `turnutils_uclient`, against the server: a second opinion on every mode that matters.

Its exit status ignores lost messages, so its counters are read. Some modes never end or lose messages even
against coturn itself: they are left out, or judged by what coturn reaches.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import unittest

from case import LiveTest
from server import PASSWORD, USER, Options

PROGRAM = "turnutils_uclient"
PATIENCE_S = 60
SUM = re.compile(r"start_mclient: tot_send_msgs=(\d+), tot_recv_msgs=(\d+)")


@unittest.skipUnless(shutil.which(PROGRAM), f"{PROGRAM} is not installed (package coturn)")
class UclientTest(LiveTest):
    """Runs the program; its clients relay to each other."""

    weight = 2
    HOST = "127.0.0.1"

    def run_client(self, *options: str, password: str = PASSWORD, count: int = 20,
                   size: int = 500) -> tuple[int, int, int]:
        """Exit status, messages sent, messages received."""
        command = [PROGRAM, *options, "-n", str(count), "-l", str(size), "-u", USER, "-w", password,
                   "-p", str(self.server.port), self.HOST]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, errors="replace")
        self.output = done.stdout + done.stderr
        sums = SUM.findall(self.output)
        sent, received = map(int, sums[-1]) if sums else (0, 0)
        return done.returncode, sent, received

    def assert_all_arrive(self, *options: str, share: float = 1.0, **how: int) -> None:
        """Everything sent (or this share of it) is received."""
        status, sent, received = self.run_client(*options, **how)
        self.assertEqual(status, 0, self.output[-2000:])
        self.assertGreater(sent, 0, self.output[-2000:])
        self.assertGreaterEqual(received, sent * share, f"{sent} sent, {received} received\n{self.output[-2000:]}")


class TcpRelays(UclientTest):
    """RFC 6062: Connect and ConnectionAttempt, both ends are this client's."""

    def test_tcp_relay(self):
        self.assert_all_arrive("-T")

    def test_tcp_relay_over_tls(self):
        self.assert_all_arrive("-T", "-S")

    def test_tcp_relay_of_four_clients(self):
        self.assert_all_arrive("-T", "-m", "4")

    def test_tcp_relay_of_long_messages(self):
        self.assert_all_arrive("-T", size=1400)

    def test_tcp_relay_of_many_messages(self):
        self.assert_all_arrive("-T", count=200)

    def test_tcp_relay_for_a_raw_peer(self):
        """A plain TCP peer dials the relay; only one direction is read, half is all."""
        status, sent, received = self.run_client("-P", count=4)
        self.assertEqual(status, 0, self.output[-2000:])
        self.assertGreater(sent, 0)
        self.assertEqual(received * 2, sent, self.output[-2000:])


class UdpRelays(UclientTest):
    """UDP relays over every transport."""

    def test_channels_over_udp(self):
        self.assert_all_arrive("-y")

    def test_send_over_udp(self):
        self.assert_all_arrive("-y", "-s")

    def test_over_tcp(self):
        self.assert_all_arrive("-t", "-y")

    def test_send_over_tcp(self):
        self.assert_all_arrive("-t", "-y", "-s")


class UdpRelaysOverTls(UclientTest):
    """UDP relays over TLS and DTLS, and stranger modes."""

    def test_over_tls(self):
        """Three or four of eighty stay in the client's own TLS buffers at its end."""
        self.assert_all_arrive("-t", "-S", "-y", share=0.9)

    def test_over_dtls(self):
        self.assert_all_arrive("-S", "-y")

    def test_more_requests(self):
        self.assert_all_arrive("-y", "-G")

    def test_padded_channel_data(self):
        self.assert_all_arrive("-t", "-y", "-D")

    def test_negative_protocol_tests(self):
        self.assert_all_arrive("-y", "-N")

    def test_dont_fragment(self):
        self.assert_all_arrive("-y", "-g")

    def test_wrong_password(self):
        for options in (("-T",), ("-y",)):
            status, sent, _ = self.run_client(*options, password="wrong")
            self.assertTrue(status != 0 or sent == 0, self.output[-2000:])


class Ipv6(UclientTest):
    """Clients that come over IPv6, with relays in IPv4 and IPv6."""

    HOST = "::1"
    options = Options(hosts=("::1",), relay_ips=("::1", "127.0.0.1"))

    def test_tcp_relay(self):
        self.assert_all_arrive("-T")

    def test_udp_relay(self):
        self.assert_all_arrive("-y")

    def test_over_dtls(self):
        self.assert_all_arrive("-S", "-y")

    def test_relay_in_ipv6(self):
        self.assert_all_arrive("-x", "-y")

    def test_relay_in_ipv6_over_tcp(self):
        self.assert_all_arrive("-x", "-t", "-y")
