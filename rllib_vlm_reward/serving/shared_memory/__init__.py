"""Requests between a client and an actor of one node, without Ray: frames in shared memory.

* :mod:`protocol`: the memory, the messages that name it, and the check of the other process' user;
* :mod:`client`: sends requests to one actor;
* :mod:`server`: takes the requests of all clients to the actor's batcher.

docs/decisions/003-links.md says what a Ray call costs, benchmarks/served.py what this saves.
"""
