"""``rllib-vlm-reward score``: scores images against goals."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import SHIPPED, Assignments, config_path, refuse_twice

if TYPE_CHECKING:
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.evaluation.score import ImageScores

_GOALS_IN_A_TABLE = 4  # more columns would be too narrow to read at 80 characters


@app.command("score")
def score_command(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="Image file, in any format that Pillow reads. Repeatable.",
            exists=True,
            dir_okay=False,
            metavar="IMAGE",
        ),
    ],
    goal: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What the image should show, such as 'a red ball'. Repeatable; the softmax head "
            "compares the goals with each other.",
        ),
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="CLIP: small, base, grounded, house, android, or open_clip's "
            "ARCHITECTURE/PRETRAINED.",
        ),
    ] = None,
    negative: Annotated[
        list[str] | None,
        typer.Option(
            metavar="TEXT",
            help="What the image shows without the goal, such as 'an empty room'. Repeatable.",
        ),
    ] = None,
    baseline: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="What the image shows before success, such as 'an empty hand'; the head "
            "goal_baseline needs it.",
        ),
    ] = None,
    head: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Head, which turns embeddings into a score; softmax by default. With settings: "
            "'{kind: goal_baseline, alpha: 0.2}'.",
        ),
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Mark scores above this value: there the reward is 1.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="YAML of a run, or of the section `vlm_reward` alone, in place of --goal, "
            "--negative, --baseline and --head. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    device: Annotated[str, typer.Option(help="Where the CLIP computes, such as cuda.")] = "cpu",
    assignments: Assignments = None,
) -> None:
    """Score images against goals, and print one row for each image.

    A run with the same settings would give these frames the same scores.

    Examples:

    ```
    rllib-vlm-reward score a.png --encoder base \\
        --goal "the agent is carrying the red ball" --negative "the agent is carrying nothing"
    rllib-vlm-reward score *.png --config quickstart --json
    ```
    """
    refuse_twice("IMAGE", images)
    refuse_twice("--goal", goal or [])
    if config is None and (not goal or encoder is None):
        raise typer.BadParameter("give --goal and --encoder, or --config CONFIG.")
    if config is not None and (goal or negative or baseline or head):
        raise typer.BadParameter(
            "--config replaces --goal, --negative, --baseline and --head: set them in CONFIG."
        )
    if config is None and assignments:
        raise typer.BadParameter("--set replaces a value of CONFIG: give --config, or no --set.")
    from rllib_vlm_reward.config import read_config

    if config is not None:
        reward = read_config(config, assignments or ())
    else:
        reward = _make(goal or [], str(encoder), negative or [], baseline, head or "softmax")
    from rllib_vlm_reward.evaluation.images import read_image

    for image in images:  # they are read again, but what is wrong with one is said before PyTorch
        read_image(image)
    say_loading()
    from rllib_vlm_reward.evaluation.score import score_images
    from rllib_vlm_reward.evaluation.scored_frames import with_encoder
    from rllib_vlm_reward.reward_model.encoder import check_device

    quiet()
    check_device(device)
    if encoder is not None:
        reward = with_encoder(reward, encoder)
    if threshold is not None:
        reward = reward.model_copy(update={"threshold": threshold})
    scores = score_images(reward, images, device=device)
    if as_json:
        Console().print_json(data=scores.to_dict())
        return
    for table in _tables(scores):
        Console().print(table)
    if reward.threshold_in_force is not None:
        Console().print(f"* the score exceeds {reward.threshold_in_force:.4g}: the reward is 1")


def _make(
    goals: list[str], encoder: str, negatives: list[str], baseline: str | None, head: str
) -> "VLMRewardConfig":
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.goals import expand_goals
    from rllib_vlm_reward.reward_model.heads import make_head
    from rllib_vlm_reward.settings import parse_settings, validated

    alone = len([text for goal in goals for text in expand_goals(goal)]) == 1
    made = make_head(parse_settings(head))
    if alone and not negatives and made.needs_negatives:
        raise typer.BadParameter(
            f"the head {head} compares a goal with other statements, but there is one --goal and "
            "no --negative, so every image would score 1. Add --negative TEXT, which says what an "
            "image shows without the goal, or another --goal; or use --head cosine, which needs "
            "none."
        )
    if baseline is None and made.needs_baseline:
        raise typer.BadParameter(
            f"the head {head} compares a goal with the state before success. Add --baseline TEXT, "
            "which describes that state; or use --head cosine, which needs none."
        )
    settings = {
        "encoder": encoder,
        "goals": goals,
        "negatives": negatives,
        "baseline": baseline,
        "head": made,
    }
    return validated(VLMRewardConfig, settings, "score")


def _tables(scores: "ImageScores") -> Iterator[Table]:
    """Yield tables of images by goals, each with as many goals as fit a terminal."""
    for first in range(0, len(scores.goals), _GOALS_IN_A_TABLE):
        columns = slice(first, first + _GOALS_IN_A_TABLE)
        heads = (Column(goal, justify="right", overflow="fold") for goal in scores.goals[columns])
        table = Table(Column("image", overflow="fold"), *heads, box=box.SIMPLE, pad_edge=False)
        rows = zip(scores.images, scores.values[:, columns], scores.fires[:, columns], strict=True)
        for image, values, fires in rows:
            cells = (
                f"{value:.4f}{'*' if fire else ''}"
                for value, fire in zip(values, fires, strict=True)
            )
            table.add_row(str(image), *cells)
        yield table
