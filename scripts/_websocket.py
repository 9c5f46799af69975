"""A minimal WebSocket client (RFC 6455) on the standard library: enough to listen to a local ComfyUI."""

from __future__ import annotations

import base64
import contextlib
import os
import socket
import ssl
import struct
from collections.abc import Iterator
from urllib.parse import urlsplit

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
IDLE = 0.5  # seconds without a message after which messages() gives None


class WebSocket:
    """A connection to a ws://, wss://, http:// or https:// URL; use it in a with statement."""

    def __init__(self, url: str, timeout: float = 30.0) -> None:
        parts = urlsplit(url)
        secure = parts.scheme in ("wss", "https")
        self._socket = socket.create_connection((parts.hostname, parts.port or (443 if secure else 80)), timeout)
        if secure:
            self._socket = ssl.create_default_context().wrap_socket(self._socket, server_hostname=parts.hostname)
        self._buffer = b""
        self._handshake(parts.netloc, parts.path + (f"?{parts.query}" if parts.query else ""))
        self._socket.settimeout(IDLE)

    def __enter__(self) -> WebSocket:
        return self

    def __exit__(self, *_exception: object) -> None:
        self._socket.close()

    def _handshake(self, host: str, target: str) -> None:
        key = base64.b64encode(os.urandom(16)).decode()
        lines = [
            f"GET {target} HTTP/1.1",
            f"Host: {host}",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Key: {key}",
            "Sec-WebSocket-Version: 13",
        ]
        self._socket.sendall("\r\n".join([*lines, "", ""]).encode())
        while b"\r\n\r\n" not in self._buffer:
            self._receive()
        head, self._buffer = self._buffer.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n")[0] + b" ":
            raise ConnectionError(f"the server refused the WebSocket: {head[:80]!r}")

    def _receive(self) -> None:
        data = self._socket.recv(65536)
        if not data:
            raise ConnectionError("the server closed the connection")
        self._buffer += data

    def _take(self, count: int) -> bytes:
        while len(self._buffer) < count:
            try:
                self._receive()
            except TimeoutError:
                continue  # in the middle of a frame: the rest is on its way
        data, self._buffer = self._buffer[:count], self._buffer[count:]
        return data

    def _frame(self) -> tuple[bool, int, bytes]:
        """(whether it ends its message, opcode, payload) of the next frame."""
        first, second = self._take(2)
        size = second & 0x7F
        if size == 126:
            size = struct.unpack("!H", self._take(2))[0]
        elif size == 127:
            size = struct.unpack("!Q", self._take(8))[0]
        return bool(first & 0x80), first & 0x0F, self._take(size)

    def _send(self, opcode: int, payload: bytes) -> None:
        """Sends one short frame; a client has to mask its payload."""
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[i % 4] for i, byte in enumerate(payload))
        self._socket.sendall(bytes([0x80 | opcode, 0x80 | len(payload)]) + mask + masked)

    def messages(self) -> Iterator[str | bytes | None]:
        """Each message, text as str; None when IDLE seconds pass without one; ends with the connection."""
        with contextlib.suppress(ConnectionError):
            yield from self._messages()

    def _messages(self) -> Iterator[str | bytes | None]:
        kind, parts = TEXT, []
        while True:
            try:
                if not self._buffer:
                    self._receive()
            except TimeoutError:
                yield None
                continue
            final, opcode, payload = self._frame()
            if opcode == CLOSE:
                return
            if opcode == PING:
                self._send(PONG, payload)
            if opcode >= CLOSE:
                continue
            kind, parts = (opcode, [payload]) if opcode else (kind, [*parts, payload])
            if final:
                whole = b"".join(parts)
                yield whole.decode("utf-8") if kind == TEXT else whole
