"""The shared-memory server of an actor, which serves the clients on its node."""

import functools
import logging
import mmap
import os
import selectors
import socket
import threading
import uuid
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, cast

from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.request import Request, Scores
from rllib_vlm_reward.serving.shared_memory.protocol import ASK_SIZE, Ask, Reply, check_user, view

__all__ = ["SharedMemoryServer"]

Serve: TypeAlias = Callable[[Request], Future[Scores]]
_LOG = logging.getLogger(__name__)


class _Connection:
    """A client's socket, its segments, and the replies that do not fit into the socket's buffer.

    A client reads replies only when it needs the scores. Linux's default buffer holds about 270.
    """

    def __init__(self, connection: socket.socket, selector: selectors.BaseSelector) -> None:
        self.socket = connection
        self.segments: dict[int, mmap.mmap] = {}
        self._selector, self._waits_for = selector, selectors.EVENT_READ
        selector.register(connection, self._waits_for, self)
        self._unsent: deque[bytes] = deque()
        self._is_open = True
        self._lock = threading.Lock()

    def reply(self, reply: Reply) -> None:
        """Send a reply now, or later if the socket's buffer is full."""
        message = reply.pack()
        with self._lock:
            self._unsent.append(message)
            self._send()

    def resume(self) -> None:
        """Send replies that did not fit into the buffer before."""
        with self._lock:
            self._send()

    def close(self) -> None:
        with self._lock:
            self._is_open = False
            self._selector.unregister(self.socket)
            self.socket.close()

    def _send(self) -> None:
        try:
            while self._unsent and self._is_open:
                self.socket.send(self._unsent[0], socket.MSG_DONTWAIT)
                self._unsent.popleft()
        except BlockingIOError:
            pass
        except OSError:  # the client has ended
            self._unsent.clear()
        waits_for = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)
        if waits_for != self._waits_for and self._is_open:
            self._waits_for = waits_for
            self._selector.modify(self.socket, waits_for, self)


class SharedMemoryServer:
    """Receives requests from the clients on this node, in a separate thread.

    Args:
        serve: gets a request, whose frames and goals are in shared memory; returns the future of
            the scores. It is called in the server's thread.
        batcher: the batcher; each reply reports how many frames wait in its queue.

    Attributes:
        address: the address for
            :class:`~rllib_vlm_reward.serving.shared_memory.client.SharedMemoryClient`. It is not
            a file, and ends with the process.
    """

    def __init__(self, serve: Serve, batcher: Batcher[Any]) -> None:
        self._serve, self._batcher = serve, batcher
        self.address = f"\0rllib_vlm_reward-{uuid.uuid4().hex}"
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._listener.bind(self.address)
        self._listener.listen(128)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._listen, name="shared-memory", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            for key, events in self._selector.select():
                try:
                    if key.data is None:
                        self._accept()
                        continue
                    if events & selectors.EVENT_WRITE:
                        key.data.resume()
                    if events & selectors.EVENT_READ:
                        self._receive(key.data)
                except OSError as error:  # no descriptors or memory left; the client uses Ray then
                    _LOG.warning("reward actor: a shared-memory connection was closed. %s", error)
                    if key.data is not None:
                        key.data.close()

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        try:
            check_user(accepted)
        except OSError:
            accepted.close()
            raise
        _Connection(accepted, self._selector)

    def _receive(self, connection: _Connection) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(connection.socket, ASK_SIZE, 1)
        except ConnectionError:
            message, fds = b"", []
        if len(message) != ASK_SIZE:  # the client has ended, or is not one of this package
            connection.close()
            return
        ask = Ask.unpack(message)
        for fd in fds:
            try:
                connection.segments[ask.segment] = mmap.mmap(fd, 0)
            finally:
                os.close(fd)
        try:
            memory = connection.segments[ask.segment]
            place = view(memory, ask.shape)
            answer = self._serve(Request(place.frames, place.goals, ask.fingerprint, ask.run))
        except Exception as error:
            connection.reply(Reply(ask.number, self._batcher.waiting, error))
            return
        answer.add_done_callback(
            functools.partial(self._answer, connection, ask, memory, place.scores)
        )

    def _answer(
        self,
        connection: _Connection,
        ask: Ask,
        memory: mmap.mmap,
        scores: Scores,
        answer: Future[Scores],
    ) -> None:
        error = cast(Exception | None, answer.exception())
        try:
            if error is None:
                found = answer.result()
                if found.ndim > 1:  # only the scorer says how many columns there are
                    scores = view(memory, ask.shape, found.shape[1]).scores
                scores[:] = found
        except Exception as raised:  # the future would only log it, and the client wait in vain
            error = raised
        connection.reply(Reply(ask.number, self._batcher.waiting, error))
