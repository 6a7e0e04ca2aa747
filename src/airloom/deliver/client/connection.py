"""HTTP/1.1 to one origin: requests over a connection that is kept, redirects, and what each answer means.

Bodies are read as they come, so a part of one is never lost. A token goes to the origin that it is for, and never with
a redirect to another.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import socket
import ssl
import statistics
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import cast
from urllib.parse import SplitResult, urljoin, urlsplit
from urllib.request import getproxies, proxy_bypass

import airloom
from airloom.deliver.client.faults import Interrupted, OutOfRange, Refused
from airloom.deliver.client.pace import TOO_LATE, TOO_SLOW, PacedResponse
from airloom.errors import ConfigError, Infeasible

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 5
_BUSY = frozenset({408, 425, 429, 500, 502, 503, 504})
#: The longest that a host may ask to wait (Retry-After).
_LONGEST_WAIT_S = 60.0
_LINE = 200
#: So many of the last waits for an answer say how long a round trip takes.
_REMEMBERED = 9


def origin_of(url: SplitResult) -> str:
    """`https://host:443` of a URL, lower case, the port always there."""
    port = url.port or (443 if url.scheme == "https" else 80)
    host = (url.hostname or "").lower()
    return f"{url.scheme}://[{host}]:{port}" if ":" in host else f"{url.scheme}://{host}:{port}"


class Answer:
    """An HTTP answer whose body is yet to be read.

    Attributes:
        status: 200 or 206.
    """

    def __init__(self, response: PacedResponse, origin: str) -> None:
        self.status = response.status
        self._response, self._origin = response, origin

    def header(self, name: str) -> str:
        """A header's value, "" where it is absent."""
        return self._response.getheader(name) or ""

    @property
    def length(self) -> int | None:
        """Bytes of the body, None where the host does not say."""
        return self._response.length

    def read(self, limit: int) -> bytes:
        """Some bytes as soon as there are any, at most `limit`; none at the end.

        Raises:
            Interrupted: the connection broke, or no byte came for too long.
        """
        try:
            data = self._response.read1(limit)
        except TimeoutError as error:
            raise Interrupted(f"{self._origin} stalls: {_slow(error)}") from None
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            # The last two: http.client, where another thread has closed the connection.
            raise Interrupted(f"the connection to {self._origin} broke: {_text(error)}") from None
        self._response.paced.took(len(data))
        return data

    def close(self) -> None:
        """Done with it; a body that was not read to its end takes its connection along."""
        self._response.close()

    @property
    def finished(self) -> bool:
        """Whether the body was read to its end."""
        return self._response.isclosed() or self._response.length == 0


class Connections:
    """Connections to a host, and those that it redirects to; one request at a time.

    Attributes:
        until_s: on the monotonic clock, until when answers are waited for; None for ever.

    Args:
        token: bearer token for `origin`.
        ca: file with certificates to trust, in place of the system's.
        connect_timeout_s: for a connection to come up.
        stall_timeout_s: without a byte, or with fewer than `least_bps` makes of it.
        least_bps: an answer that comes more slowly is given up.

    Raises:
        ConfigError: the token or the file of certificates cannot be used.
    """

    def __init__(
        self, origin: str, *, token: str | None, ca: Path | None, connect_timeout_s: float, stall_timeout_s: float,
        least_bps: float,
    ) -> None:  # fmt: skip
        if token is not None and not (token.isascii() and token.isprintable() and token and " " not in token):
            raise ConfigError("a token is one line of printable ASCII without spaces")
        self._origin, self._token = origin, token
        self._connect_timeout_s, self._stall_timeout_s = connect_timeout_s, stall_timeout_s
        self._answer = functools.partial(PacedResponse, pace=(least_bps, stall_timeout_s), until_s=lambda: self.until_s)
        self.until_s: float | None = None
        self._ca, self._tls = ca, None
        if origin.startswith("https:"):
            self._tls = self._context()
        self._open: dict[str, http.client.HTTPConnection] = {}
        self._sockets: dict[str, socket.socket] = {}
        self._waits: deque[float] = deque(maxlen=_REMEMBERED)
        self._over = False

    @property
    def rtt_s(self) -> float:
        """From a question over a connection that is there to the first byte of the answer, median; 0 before any."""
        return statistics.median(self._waits) if self._waits else 0.0

    def _context(self) -> ssl.SSLContext:
        try:
            return ssl.create_default_context(cafile=None if self._ca is None else str(self._ca))
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(f"no certificates to trust in it: {_text(error)}", where=str(self._ca)) from None

    def request(self, method: str, url: str, *, headers: Mapping[str, str] = {}, body: bytes | None = None) -> Answer:
        """The answer to a request, redirects followed.

        Raises:
            Refused, OutOfRange: 4xx, and redirects that lead nowhere good.
            Infeasible: our server has no configuration that meets the demand.
            Interrupted: the host cannot be reached, or cannot answer now.
        """
        for _ in range(_MOST_REDIRECTS + 1):
            answer = self._once(method, url, headers, body)
            if answer.status in (200, 206):
                return answer
            target = answer.header("Location") if answer.status in _REDIRECTS else ""
            if not target:
                raise self._refusal(answer, url)
            answer.close()
            self._drop(origin_of(urlsplit(url)))
            following = _followed(url, target)
            if following is None:
                raise Refused(f"{shortened(url)} redirects to {target[:_LINE]!r}, which is not followed")
            url = following
        raise Refused(f"{shortened(url)}: more than {_MOST_REDIRECTS} redirects")

    def _once(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> Answer:
        parts = urlsplit(url)
        origin = origin_of(parts)
        sent = {
            "User-Agent": f"airloom/{airloom.__version__}",
            "Accept-Encoding": "identity",
            **headers,
        }
        if self._token is not None and origin == self._origin:
            sent["Authorization"] = f"Bearer {self._token}"
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        kept = origin in self._open and self._open[origin].sock is not None
        while True:
            connection = self._connection(origin, parts)
            whole = url if getattr(connection, "absolute", False) else path
            try:
                began = time.monotonic()
                connection.sock.settimeout(self._stall_timeout_s)
                connection.request(method, whole, body=body, headers=sent)
                response = cast(PacedResponse, connection.getresponse())
                self._waits.append(time.monotonic() - began)
                return Answer(response, origin)
            except TimeoutError as error:
                self._drop(origin)
                slow = _slow(error, f"no answer in {self._stall_timeout_s:g} s")
                raise Interrupted(f"{origin} stalls: {slow}") from None
            except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
                self._drop(origin)
                if kept and not self._over:
                    kept = False  # the host had closed the connection that was kept: once more over a new one
                    continue
                raise Interrupted(f"{origin} does not answer: {_text(error)}") from None

    def _connection(self, origin: str, parts: SplitResult) -> http.client.HTTPConnection:
        if self._over:
            raise Interrupted("the model is closed")
        found = self._open.get(origin)
        if found is not None and found.sock is not None:
            return found
        host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
        proxy = None if proxy_bypass(host) else getproxies().get(parts.scheme)
        via = _place_of(proxy) if proxy else None
        where = via or (host, port)
        made: http.client.HTTPConnection
        if parts.scheme == "https":
            self._tls = self._tls or self._context()
            made = http.client.HTTPSConnection(*where, timeout=self._connect_timeout_s, context=self._tls)
            if via is not None:
                made.set_tunnel(host, port)
        else:
            made = http.client.HTTPConnection(*where, timeout=self._connect_timeout_s)
            made.absolute = via is not None  # type: ignore[attr-defined]
        made.response_class = self._answer  # type: ignore[assignment]
        try:
            made.connect()
        except ssl.SSLCertVerificationError as error:
            raise Refused(
                f"{origin}: its certificate is not trusted ({error.verify_message}): name who signed it (--ca FILE)"
            ) from None
        except TimeoutError:
            raise Interrupted(f"{origin} cannot be reached: no connection in {self._connect_timeout_s:g} s") from None
        except UnicodeError:
            raise Refused(f"{shortened(origin)}: no host can have this name") from None
        except (OSError, http.client.HTTPException) as error:
            raise Interrupted(f"{origin} cannot be reached: {_text(error)}") from None
        made.sock.settimeout(self._stall_timeout_s)
        self._open[origin], self._sockets[origin] = made, made.sock
        return made

    def _refusal(self, answer: Answer, url: str) -> Exception:
        reason = _reason(answer)
        answer.close()
        self._drop(origin_of(urlsplit(url)))
        url = shortened(url)
        said = f": {reason}" if reason else ""
        match answer.status:
            case 401:
                return Refused(f"{url}: the host wants a token, or not this one (--token-file){said}")
            case 403:
                return Refused(f"{url}: the host does not allow it{said}")
            case 404 | 410:
                return Refused(f"{url}: not there{said}")
            case 416:
                return OutOfRange(f"{url}: the host has fewer bytes of it than have arrived{said}")
            case 422:
                return Infeasible(f"{self._origin}: {reason or 'no configuration is within the limits'}")
            case status if status in _BUSY:
                wait = answer.header("Retry-After")
                asked = min(float(wait), _LONGEST_WAIT_S) if wait.isdecimal() else 0.0
                return Interrupted(f"{url}: the host cannot answer now ({status}){said}", retry_after_s=asked)
            case status:
                return Refused(f"{url}: the host answers {status}{said}")

    def release(self, answer: Answer) -> None:
        """Done with `answer`; its connection is kept where the body was read to its end."""
        kept = answer.finished
        answer.close()
        if not kept:
            for origin in list(self._open):
                self._drop(origin)

    def _drop(self, origin: str) -> None:
        connection = self._open.pop(origin, None)
        self._sockets.pop(origin, None)
        if connection is not None:
            connection.close()

    def abort(self) -> None:
        """From another thread: whatever is being read breaks off."""
        self._over = True
        self.interrupt()

    def interrupt(self) -> None:
        """From another thread: what is being read breaks off, what is asked for later does not."""
        for held in list(self._sockets.values()):
            with contextlib.suppress(OSError):  # closed already
                held.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for origin in list(self._open):
            self._drop(origin)


def _reason(answer: Answer) -> str:
    """The line in an answer that is an error, where it is our server's."""
    import msgspec

    if "json" not in answer.header("Content-Type"):
        return ""
    try:
        found = msgspec.json.decode(answer.read(4096), type=dict[str, object]).get("error", "")
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, Interrupted):
        return ""
    return _printable(str(found))


def _followed(url: str, target: str) -> str | None:
    """Where a redirect from `url` leads; None where that is no address, or leads from https to http."""
    try:
        found = urlsplit(urljoin(url, target))
        usable = bool(found.hostname) and found.port != 0
    except ValueError:
        return None
    schemes = ("https",) if url.startswith("https:") else ("http", "https")
    return found.geturl() if usable and found.scheme in schemes else None


def _place_of(proxy: str) -> tuple[str, int]:
    """Host and port of a proxy as the environment names it.

    Raises:
        ConfigError: it names none.
    """
    try:
        found = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
        host, port = found.hostname, found.port or 80
    except ValueError:
        host, port = None, 0
    if not host:
        raise ConfigError("a proxy in the environment (http_proxy, https_proxy) is no host and port")
    return host, port


def shortened(url: str) -> str:
    """The URL, as much of it as a line has room for."""
    return url if len(url) <= _LINE else f"{url[:_LINE]}..."


def _slow(error: TimeoutError, otherwise: str = "no byte came in time") -> str:
    # The kernel's own timeouts say "timed out".
    return str(error) if str(error) in (TOO_SLOW, TOO_LATE) else otherwise


def _text(error: BaseException) -> str:
    """What happened; a part of it may be what a stranger sent."""
    return _printable((getattr(error, "strerror", None) or str(error) or type(error).__name__).strip())


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_LINE])
