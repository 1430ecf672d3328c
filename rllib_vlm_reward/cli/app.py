"""The typer app, with which each command registers."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rllib_vlm_reward import __version__
from rllib_vlm_reward.settings import assign_settings, read_settings

__all__ = ["app", "quiet", "say_loading"]

app = typer.Typer(
    help="Train RLlib agents from language goals: CLIP says whether a frame shows the goal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"rllib-vlm-reward {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take what stands before a command; Typer asks for a function."""


def say_loading(config: Path | None = None, assignments: Sequence[str] | None = None) -> None:
    """Print that PyTorch and Ray are imported now, which takes some seconds.

    Args:
        config: the YAML of a run, which the command reads later. It is read here too, with its
            reward, so that their mistakes are reported first.
        assignments: values of ``--set``.

    Raises:
        ConfigError: see :func:`.read_settings`, :func:`.assign_settings` and
            :func:`.check_reward`.
    """
    if config is not None:
        from rllib_vlm_reward.config import check_reward

        check_reward(assign_settings(read_settings(config), assignments or ()), str(config))
    Console(stderr=True).print("loading PyTorch and Ray")


def quiet() -> None:
    """Silence the warnings about default settings that Ray 2.60 prints at every start."""
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="gymnasium")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
