"""Sends frames in shared memory between a client and an actor on the same node, without Ray.

* :mod:`protocol`: the shared memory, the messages, and the check of the other process's user;
* :mod:`client`: sends requests to one actor;
* :mod:`server`: passes the requests of all clients to the actor's batcher.

See docs/decisions/003-links.md for the cost of a Ray call; benchmarks/served.py measures the gain.
"""
