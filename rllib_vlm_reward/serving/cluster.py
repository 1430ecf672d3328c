"""Ray for as long as something needs it."""

import contextlib
import logging
import os
from collections.abc import Iterator
from typing import Any

import ray

__all__ = ["joined_cluster"]


@contextlib.contextmanager
def joined_cluster(**local: Any) -> Iterator[None]:
    """Be connected to Ray: as this process is already, else to ``RAY_ADDRESS``, else to a new one.

    A connection made here ends with the context, and with it a Ray that was started here.

    Args:
        **local: for ``ray.init``, where Ray is started on this machine.

    Example:
        >>> with joined_cluster(num_cpus=1):  # doctest: +SKIP
        ...     ray.cluster_resources()["CPU"]
        1.0
    """
    if ray.is_initialized():
        yield
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" in os.environ:
        ray.init(**quiet)
    else:
        # "local", or Ray joins any cluster that another program left on this machine.
        ray.init(address="local", **local, **quiet)
    try:
        yield
    finally:
        ray.shutdown()
