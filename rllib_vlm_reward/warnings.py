"""Warnings that are logged once in a process, however often their cause is met."""

import functools
import logging

__all__ = ["warn_once"]


@functools.lru_cache
def warn_once(log: logging.Logger, text: str) -> None:
    """Log a warning, unless this process has logged it before.

    A command checks goals before it plays an env, and again with the model. A search builds a
    configuration for each trial.

    Args:
        log: the logger of the module that warns.
        text: the warning.
    """
    log.warning("%s", text)
