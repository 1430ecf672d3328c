"""``rllib-vlm-reward train-clip``: a small CLIP for BabyAI's frames."""

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
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder of the trained CLIP.")],
    steps: Annotated[int | None, typer.Option(min=1, help="Optimiser steps.")] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="How many frames to render and caption.")
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THING",
            help='A thing that is neither shown nor named, such as "green ball". Repeatable.',
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of play, batches and articles.")] = 0,
) -> None:
    """Train a CLIP on rendered, captioned BabyAI frames, and score it on held-out layouts.

    The embedded CLIPs were trained with the defaults. DIR has open_clip's layout, with a model
    card; a run uses it by `vlm_reward: {encoder: DIR}`.

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
    Console().print(f"{output} holds the CLIP and model_card.md.")
