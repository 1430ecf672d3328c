"""The program that each command registers with."""

import logging
import warnings

import typer
from rich.console import Console

__all__ = ["app", "quiet", "say_loading"]

app = typer.Typer(
    help="Train RLlib agents from language goals: CLIP says whether a frame shows the goal.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def say_loading() -> None:
    """Explain the silence of the next seconds, in which Ray and PyTorch are imported."""
    Console(stderr=True).print("loading PyTorch and Ray")


def quiet() -> None:
    """Silence warnings of Ray 2.60 about default values that Ray itself sets."""
    for name in ("ray", "ray.rllib", "ray.tune"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module="gymnasium")
    warnings.filterwarnings("ignore", category=DeprecationWarning)
