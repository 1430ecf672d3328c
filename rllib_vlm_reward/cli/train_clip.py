"""``rllib-vlm-reward train-clip``: trains a CLIP on the frames of a world."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rllib_vlm_reward.cli.app import app, say_loading
from rllib_vlm_reward.errors import ConfigError
from rllib_vlm_reward.settings import parse_settings

if TYPE_CHECKING:
    from rllib_vlm_reward.pretraining import Settings
    from rllib_vlm_reward.pretraining.scores import Scores
    from rllib_vlm_reward.pretraining.sources import Source


@app.command("train-clip")
def train_clip_command(
    encoder: Annotated[
        str,
        typer.Argument(
            help="What is trained: NAME/random or FOLDER/random starts from nothing, with the "
            "architecture of a shipped CLIP or of a folder with open_clip_config.json. Any other "
            "encoder of a run, such as ViT-B-32/openai or a folder, is fine-tuned.",
            metavar="ENCODER",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the trained CLIP.")],
    env: Annotated[
        str | None,
        typer.Option(
            metavar="ENV",
            help="Gymnasium id or import path of an env with captions(), which is played.",
        ),
    ] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of images, to train on instead of playing an env. Its captions.csv or "
            "captions.parquet has the columns file_name, caption and, if wanted, label, family, "
            "episode.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    env_config: Annotated[
        str, typer.Option(metavar="YAML", help="Settings of the env, such as '{num_rooms: 1}'.")
    ] = "{}",
    steps: Annotated[int | None, typer.Option(min=1, help="Number of optimiser steps.")] = None,
    frames: Annotated[int | None, typer.Option(min=1, help="Number of frames to play.")] = None,
    held_out_frames: Annotated[
        int | None, typer.Option(min=1, help="Number of frames to score on, of other layouts.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Frames in a step.")] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="Peak of the learning rate; 1.5e-3 from nothing, 1e-3 with --patches, else 2e-5."
        ),
    ] = None,
    held_out: Annotated[
        list[str] | None,
        typer.Option(
            metavar="THING",
            help='Thing that training does not name, such as "green ball". An env with the setting '
            "reserved does not show it either. Repeatable.",
        ),
    ] = None,
    patches: Annotated[
        bool,
        typer.Option(
            "--patches",
            help="Teach the vision tower of a trained CLIP what each patch shows, by the env's "
            "boxes(). Embeddings of texts stay, and those of whole frames hardly change.",
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of play, batches and wordings.")] = 0,
    score_only: Annotated[
        bool,
        typer.Option(
            "--score-only",
            help="Train nothing: score the CLIP in DIR again, with the settings of its training, "
            "and rewrite its card.",
        ),
    ] = False,
) -> None:
    """Train a CLIP on frames with captions, and score it on frames that it never saw.

    The captions are those of an env, which is played, or of a folder of images. The command writes
    a model card and the files that open_clip loads to DIR. To use the CLIP in a run, set
    `vlm_reward: {encoder: DIR}`. A training that was interrupted goes on if it is repeated.

    Example:

    ```
    rllib-vlm-reward train-clip small/random --env rllib_vlm_reward/Rooms-v0 --output runs/my-clip
    ```
    """
    given: dict[str, Any] = {
        "steps": steps,
        "num_frames": frames,
        "held_out_frames": held_out_frames,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
    }
    chosen = {key: value for key, value in given.items() if value is not None}
    if score_only and (chosen or held_out or seed or patches):
        raise typer.BadParameter("--score-only takes the settings that DIR was trained with.")
    if (env is None) == (folder is None):
        raise typer.BadParameter("give either --env, to play an env, or --folder, to read images.")
    config = parse_settings(env_config)
    if not isinstance(config, Mapping):
        raise ConfigError(
            f"--env-config: got {env_config!r}, expected a mapping, such as '{{num_rooms: 1}}'. "
            "Put it into braces."
        )
    say_loading()
    from rllib_vlm_reward.pretraining import EnvSource, FolderSource, Settings

    settings = Settings(seed=seed, held_out_things=tuple(held_out or ()), patches=patches, **chosen)
    source = EnvSource(env, config) if env is not None else FolderSource(folder or Path())
    _print(_run(encoder, source, output, None if score_only else settings), output)


def _run(encoder: str, source: "Source", output: Path, settings: "Settings | None") -> "Scores":
    """Train with a bar for each phase; without settings, only score."""
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from rllib_vlm_reward.pretraining import Progress, score_clip, train_clip

    with Bar(console=Console(stderr=True)) as bar:
        tasks: dict[str, TaskID] = {}

        def report(now: Progress) -> None:
            if now.phase not in tasks:
                tasks[now.phase] = bar.add_task(now.phase, total=now.total)
            bar.update(tasks[now.phase], completed=now.done)

        if settings is None:
            return score_clip(source, output, report=report)
        return train_clip(encoder, source, output, settings, report=report)


def _print(scores: "Scores", output: Path) -> None:
    table = Table("family", "average precision", "precision", "recall", title="held-out frames")
    for family, score in scores.items():
        table.add_row(
            family,
            *(_with_interval(score, name) for name in ("average_precision", "precision", "recall")),
        )
    Console().print(table)
    Console(soft_wrap=True).print(f"{output} holds the CLIP and model_card.md.", markup=False)


def _with_interval(score: Any, name: str) -> str:
    low, high = score.intervals.get(name, (float("nan"), float("nan")))
    return f"{getattr(score, name):.4f}\n({low:.2f} to {high:.2f})"
