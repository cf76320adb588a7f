"""Command line: `python3 -m turnclient expose --server HOST:PORT --user U:P --permit IP --to HOST:PORT`."""

from __future__ import annotations

import argparse
import sys

from .expose import expose
from .value import parse_address


def main() -> int:
    """Parse the arguments and run the command."""
    parser = argparse.ArgumentParser(prog="turnclient", description="A TURN client for tests and demonstrations.")
    commands = parser.add_subparsers(dest="command", required=True)
    share = commands.add_parser("expose", help="offer a local TCP service at a relayed address (RFC 6062)")
    share.add_argument("--server", required=True, type=parse_address, metavar="HOST:PORT")
    share.add_argument("--user", required=True, metavar="NAME:PASSWORD")
    share.add_argument("--permit", action="append", required=True, metavar="IP", help="peer address; may be repeated")
    share.add_argument("--to", required=True, type=parse_address, metavar="HOST:PORT", help="the local service")
    given = parser.parse_args()
    # the name of a time-limited user contains a colon, its password never does
    user, _, password = given.user.rpartition(":")
    return expose(given.server, user, password, given.permit, given.to)


if __name__ == "__main__":
    sys.exit(main())
