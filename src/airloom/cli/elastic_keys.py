"""airloom elastic keys: a key pair to sign models with."""

from __future__ import annotations

import argparse
from pathlib import Path

from airloom.errors import ConfigError

HELP = "make the keys that a progressive model is signed with"
EPILOG = """\
examples:
  airloom elastic keys publisher
  airloom elastic keys --show publisher.pub

Writes OUT.key, which signs and which only you can read, and OUT.pub, which clients check with. Keys are never
overwritten. Whoever fetches your models needs OUT.pub, or its line `ed25519:...`, from you by a way that they trust;
the fingerprint is there to be read out.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("out", type=Path, metavar="OUT", help="the files are OUT.key and OUT.pub")
    parser.add_argument("--show", action="store_true", help="make nothing; show the public key in the file OUT")
    parser.add_argument("--json", action="store_true", help="print paths, public key and fingerprint as JSON")


def run(args: argparse.Namespace) -> int:
    from airloom.cli.terminal import emit_json
    from airloom.deliver.signing import fingerprint, make_keys, public_text, read_public_key

    if not args.show and args.out.suffix in (".key", ".pub"):
        raise ConfigError(f"name it without {args.out.suffix}: {args.out.stem}", where=str(args.out))
    private, public = (None, args.out) if args.show else make_keys(args.out)
    key = read_public_key(public)
    if args.json:
        emit_json(
            {
                "private_key": None if private is None else str(private),
                "public_key_file": str(public),
                "public_key": public_text(key),
                "fingerprint": fingerprint(key),
            }
        )
        return 0
    if private is not None:
        print(f"{private}: keep it to yourself; it signs")
        print(f"{public}: for everybody who fetches")
    print(f"public key   {public_text(key)}")
    print(f"fingerprint  {fingerprint(key)}")
    return 0
