"""``rllib-vlm-reward train-clip``: trains a small CLIP on BabyAI frames."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rllib_vlm_reward.cli.app import app


@app.command("train-clip")
def train_clip_command(
    architecture: Annotated[
        str,
        typer.Argument(
            help="Name of an embedded CLIP (small, base), or path of an open_clip_config.json.",
            metavar="ARCHITECTURE",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the trained CLIP.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Number of optimiser steps.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Number of frames to render and caption.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THING",
            help='Thing that training neither shows nor names, such as "green ball". Repeatable.',
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of play, batches and articles.")] = 0,
) -> None:
    """Train a CLIP on rendered, captioned BabyAI frames, and score it on held-out layouts.

    The embedded CLIPs were trained with the defaults. The command writes a model card and the
    files that open_clip loads to DIR. To use the CLIP in a run, set `vlm_reward: {encoder: DIR}`.

    Example:

    ```
    rllib-vlm-reward train-clip base --output runs/my-clip
    ```
    """
    from rich.progress import Progress as Bar

    from rllib_vlm_reward.pretraining import Settings, train_clip

    given = {"steps": steps, "num_frames": frames}
    unseen = tuple(held_out or ())
    settings = Settings(
        seed=seed,
        held_out_things=unseen,
        **{key: value for key, value in given.items() if value is not None},
    )
    with Bar() as bar:
        task = bar.add_task("play", total=settings.steps)
        scores = train_clip(
            architecture,
            output,
            settings,
            report=lambda now: bar.update(task, completed=now.step, description=now.phase),
        )
    table = Table("family", "average precision", "precision", "recall", title="held-out layouts")
    for family, score in scores.items():
        numbers = (score.average_precision, score.precision, score.recall)
        table.add_row(family, *(f"{number:.4f}" for number in numbers))
    Console().print(table)
    Console(soft_wrap=True).print(f"{output} holds the CLIP and model_card.md.", markup=False)
