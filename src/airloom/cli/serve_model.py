"""airloom serve-model: progressive models over HTTP."""

from __future__ import annotations

import argparse
from pathlib import Path

HELP = "serve progressive models, each client the part that arrives by its deadline"
EPILOG = """\
examples:
  airloom serve-model resnet56
  airloom serve-model resnet56 trees --host 0.0.0.0 --port 8443 --cert certs/mec.pem --key certs/mec.key \\
      --tokens tokens --public-key publisher.pub

FOLDER is what `airloom elastic pack` wrote; `airloom fetch-model` fetches from here. A folder whose manifest changes
is read again while the server runs. SIGTERM and Ctrl-C end it once what is under way is done.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER", help="a packed model")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=8080, help="0 takes a free one (default: 8080)")
    parser.add_argument("--cert", type=Path, metavar="FILE", help="certificate chain for TLS, PEM")
    parser.add_argument("--key", type=Path, metavar="FILE", help="its private key, PEM")
    parser.add_argument("--no-tls", action="store_true", help="serve in the clear beyond this machine")
    parser.add_argument(
        "--tokens", type=Path, metavar="FILE", help="let in only these bearer tokens: a line `NAME TOKEN` each"
    )
    parser.add_argument("--open", action="store_true", help="let everybody in beyond this machine")
    parser.add_argument("--public-key", metavar="KEY", help="serve only what this key signed: a file, or ed25519:...")
    parser.add_argument(
        "--assume-rate",
        default="10 Mbit/s",
        metavar="RATE",
        help="of a client that states none and has fetched nothing yet (default: 10 Mbit/s)",
    )
    parser.add_argument(
        "--cache-size", default="512 MiB", metavar="SIZE", help="chunks in memory, for all clients (default: 512 MiB)"
    )
    parser.add_argument("--max-connections", type=int, default=1024, metavar="N", help="at a time (default: 1024)")
    parser.add_argument("--max-transfers", type=int, default=512, metavar="N", help="requests at a time (default: 512)")
    parser.add_argument(
        "--max-transfers-per-client", type=int, default=32, metavar="N", help="of one client (default: 32)"
    )
    parser.add_argument("--access-log", action="store_true", help="a line on stderr for each request")
    parser.add_argument("--json", action="store_true", help="say what is served as one line of JSON")


def run(args: argparse.Namespace) -> int:
    import json

    from airloom.deliver.server.serving import Serving, serve
    from airloom.deliver.server.settings import ServerSettings
    from airloom.units import parse_bytes, parse_rate

    settings = ServerSettings(
        folders=tuple(args.folders),
        host=args.host,
        port=args.port,
        certificate=args.cert,
        key=args.key,
        tokens=args.tokens,
        public_key=args.public_key,
        open_to_all=args.open,
        plain=args.no_tls,
        assumed_rate_bps=parse_rate(args.assume_rate, where="--assume-rate"),
        cache_nbytes=parse_bytes(args.cache_size, where="--cache-size"),
        max_connections=args.max_connections,
        max_transfers=args.max_transfers,
        max_transfers_per_client=args.max_transfers_per_client,
        access_log=args.access_log,
    )

    def ready(serving: Serving) -> None:
        if args.json:
            models = [model._asdict() for model in serving.models]
            print(json.dumps({"url": serving.url, "models": models}), flush=True)
            return
        signed = (f"{m.model} ({f'signed by {m.fingerprint}' if m.key else 'not signed'})" for m in serving.models)
        print(f"{serving.url}  {', '.join(signed)}", flush=True)

    serve(settings, ready=ready)
    return 0
