"""The actor's end of its links: serves the clients of its node."""

import contextlib
import functools
import logging
import mmap
import os
import selectors
import socket
import threading
import uuid
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeAlias, cast

from rllib_vlm_reward.frames import Frames
from rllib_vlm_reward.serving.batcher import Batcher
from rllib_vlm_reward.serving.message import ASK, Ask, Reply
from rllib_vlm_reward.serving.request import Goals, Scores
from rllib_vlm_reward.serving.segment import view
from rllib_vlm_reward.serving.user import check_user

__all__ = ["Listener"]

Serve: TypeAlias = Callable[[Frames, Goals, str, int], Future[Scores]]
_LOG = logging.getLogger(__name__)


class _Client:
    """One client's socket, and the segments that it shares."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.segments: dict[int, mmap.mmap] = {}
        self._sending = threading.Lock()

    def reply(self, reply: Reply) -> None:
        with self._sending, contextlib.suppress(OSError):  # the client may be gone
            try:
                self.connection.send(reply.pack(), socket.MSG_DONTWAIT)
            except BlockingIOError:  # it stands still, and must not hold up a lane
                self.connection.shutdown(socket.SHUT_RDWR)


class Listener:
    """Takes requests from links, in a thread of its own.

    Args:
        serve: frames uint8 ``[B, H, W, 3]`` and goals int64 ``[B]``, both in shared memory, a
            scorer's fingerprint and a run -> the future of the scores. Called in the listener's
            thread.
        batcher: what waits there is told with each reply.

    Attributes:
        address: for :class:`~rllib_vlm_reward.serving.link.Link`. It has no file, and ends with
            the process.
    """

    def __init__(self, serve: Serve, batcher: Batcher[Any]) -> None:
        self._serve, self._batcher = serve, batcher
        self.address = f"\0rllib_vlm_reward-{uuid.uuid4().hex}"
        self._door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.bind(self.address)
        self._door.listen(128)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._door, selectors.EVENT_READ)
        self._thread = threading.Thread(target=self._listen, name="listener", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while True:
            for key, _ in self._selector.select():
                try:
                    self._accept() if key.data is None else self._receive(key.data)
                except OSError as error:  # no file or memory left; the client falls back on Ray
                    _LOG.warning("reward actor: a link ends. %s", error)
                    if key.data is not None:
                        self._drop(key.data)

    def _accept(self) -> None:
        connection, _ = self._door.accept()
        try:
            check_user(connection)
        except OSError:
            connection.close()
            raise
        self._selector.register(connection, selectors.EVENT_READ, _Client(connection))

    def _drop(self, client: _Client) -> None:
        self._selector.unregister(client.connection)
        client.connection.close()

    def _receive(self, client: _Client) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(client.connection, ASK.size, 1)
        except ConnectionError:
            message, fds = b"", []
        if len(message) != ASK.size:  # its end, or no client of ours
            self._drop(client)
            return
        ask = Ask.unpack(message)
        for fd in fds:
            try:
                client.segments[ask.segment] = mmap.mmap(fd, 0)
            finally:
                os.close(fd)
        try:
            request = view(client.segments[ask.segment], ask.shape)
            answer = self._serve(request.frames, request.goals, ask.fingerprint, ask.run)
        except Exception as error:
            client.reply(Reply(ask.number, self._batcher.waiting, error))
            return
        answer.add_done_callback(
            functools.partial(self._answer, client, ask.number, request.scores)
        )

    def _answer(self, client: _Client, number: int, scores: Scores, answer: Future[Scores]) -> None:
        error = answer.exception()
        if error is None:
            scores[:] = answer.result()
        client.reply(Reply(number, self._batcher.waiting, cast(Exception | None, error)))
