"""``rllib-vlm-reward landscape``: draws scores along an episode, or over a grid of states."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import (
    SHIPPED,
    Assignments,
    check_output,
    config_path,
    refuse_twice,
)
from rllib_vlm_reward.files import write_text

if TYPE_CHECKING:
    from rllib_vlm_reward.config import VLMRewardConfig
    from rllib_vlm_reward.evaluation.trajectory import Trajectory
    from rllib_vlm_reward.run import Experiment

Rewards = Mapping[str, "VLMRewardConfig"]


@app.command("landscape")
def landscape_command(
    configs: Annotated[
        list[Path],
        typer.Argument(
            help="YAML of a run. Repeatable: the first one's env is played, and the reward of each "
            "scores the frames. " + SHIPPED,
            parser=config_path,
            metavar="CONFIG",
        ),
    ],
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="New or empty folder for the results.")
    ],
    player: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who plays: random or expert. By default expert, if the env has one.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Seed of the layout and of random actions. By default, random actions use seed 0; "
            "an expert plays 16 layouts, and the longest episode that reaches its goal is drawn.",
        ),
    ] = None,
    goal: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Goal to request, one of the run's goals.")
    ] = None,
    grid: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=LOW:HIGH:NUMBER",
            help="Score a grid of states instead of an episode, such as theta=-1.57:1.57:41. "
            "Repeat it for a heat map.",
        ),
    ] = None,
    frames: Annotated[
        Path | None,
        typer.Option(
            metavar="PARQUET",
            help="Labelled frames with the episode to score; no env is played.",
            exists=True,
        ),
    ] = None,
    episode: Annotated[
        str | None, typer.Option(metavar="NAME", help="Episode of --frames to score.")
    ] = None,
    encoder: Annotated[
        list[str] | None,
        typer.Option(
            help="CLIP that replaces the configurations' encoder. Repeat it to compare several.",
            metavar="NAME",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="Where the CLIP computes, such as cuda.")] = "cpu",
    assignments: Assignments = None,
) -> None:
    """Draw the score of a reward along an episode, or over a grid of states.

    For an episode, the command writes trajectory.png and trajectory.gif to DIR; for a grid, it
    writes landscape.png. landscape.json holds the numbers. With goal_map, the pictures are dark
    where the first reward's map does not see the goal.

    Examples:

    ```
    rllib-vlm-reward landscape quickstart --output runs/landscape
    rllib-vlm-reward landscape cartpole --output runs/heat \\
        --grid theta=-1.57:1.57:41 --grid x=-1:1:9
    ```
    """
    _check_options(frames, episode, grid or [], player, goal)
    check_output(output, folder=True)
    refuse_twice("CONFIG", configs)
    refuse_twice("--encoder", encoder or [])
    from rllib_vlm_reward.config import read_config
    from rllib_vlm_reward.evaluation.labelled import LabelledFrames

    read = {path: read_config(path, assignments or ()) for path in configs}
    labelled = None if frames is None else LabelledFrames.load(frames)
    say_loading()
    from rllib_vlm_reward.evaluation.evaluate import expect_same_source
    from rllib_vlm_reward.evaluation.trajectory import Trajectory, play
    from rllib_vlm_reward.run import Experiment

    quiet()
    rewards = _rewards(read, encoder or [], goal, device)
    if labelled is None:
        expect_same_source(rewards)
    if grid:
        run = Experiment.from_file(configs[0], assignments or ())
        summary = _grid(run, grid, rewards, output, goal, seed or 0, device)
    else:
        if labelled is not None and episode is not None:
            trajectory = Trajectory.of(labelled, episode)
        else:
            run = Experiment.from_file(configs[0], assignments or ())
            trajectory = play(run, player=player, seed=seed, goal=goal)
        summary = _trajectory(trajectory, rewards, output, device)
    write_text(output / "landscape.json", json.dumps(summary, indent=1) + "\n")
    names = ", ".join(sorted(file.name for file in output.iterdir()))
    Console(soft_wrap=True).print(f"{output} holds {names}.", markup=False)


def _check_options(
    frames: Path | None, episode: str | None, grid: list[str], player: str | None, goal: str | None
) -> None:
    """Check that no options contradict each other."""
    if (frames is None) != (episode is None) or (grid and frames is not None):
        raise typer.BadParameter("give --frames and --episode together, and without --grid.")
    if frames is not None and (goal is not None or player is not None):
        raise typer.BadParameter(
            "the episodes of --frames were played already: leave out --goal and --player."
        )
    if grid and player is not None:
        raise typer.BadParameter("--player does not apply to --grid: leave out --player.")
    if len(grid) > 2:
        raise typer.BadParameter("a chart shows one or two variables: give --grid once or twice.")


def _rewards(
    configs: "Mapping[Path, VLMRewardConfig]", encoders: list[str], goal: str | None, device: str
) -> Rewards:
    """Return each reward with each encoder, and find wrong names before an env is played."""
    from rllib_vlm_reward.evaluation.evaluate import candidates
    from rllib_vlm_reward.evaluation.landscape import only_goal
    from rllib_vlm_reward.reward_model.encoder import (
        check_device,
        check_encoder,
        check_patches,
    )

    check_device(device)
    for config in configs.values():
        config.expect_one_encoder("landscape")
    rewards = candidates(configs, encoders)
    for reward in rewards.values():
        check_encoder(reward.encoder, reward.serving.precision, reward.goal_sets)
        if reward.map_readout is not None:
            check_patches(reward.encoder, [reward.map_readout])
        if goal is not None:
            only_goal(reward, goal)
    return rewards


def _trajectory(
    trajectory: "Trajectory", rewards: Rewards, output: Path, device: str
) -> dict[str, Any]:
    from rllib_vlm_reward.evaluation.landscape import lines, save_trajectory
    from rllib_vlm_reward.run.evaluator import Moment
    from rllib_vlm_reward.run.frame_pictures import save_video

    drawn = lines(rewards, trajectory.frames, trajectory.goal, device=device)
    output.mkdir(parents=True, exist_ok=True)
    first = drawn[0]
    trajectory = dataclasses.replace(trajectory, frames=first.over(trajectory.frames))
    save_trajectory(output / "trajectory.png", trajectory, drawn)
    truths = trajectory.success or [None] * len(trajectory.steps)
    columns = zip(trajectory.steps, trajectory.frames, first.scores, truths, strict=True)
    moments = [
        Moment(trajectory.episode, step, frame, trajectory.goal, float(score), success)
        for step, frame, score, success in columns
    ]
    save_video(output / "trajectory.gif", moments, first.config.threshold_in_force)
    return {
        "goal": trajectory.goal,
        "player": trajectory.player,
        "episode": trajectory.episode,
        "steps": trajectory.steps,
        "success": trajectory.success,
        "rewards": [line.to_dict() for line in drawn],
    }


def _grid(
    experiment: "Experiment",
    grid: Sequence[str],
    rewards: Rewards,
    output: Path,
    goal: str | None,
    seed: int,
    device: str,
) -> dict[str, Any]:
    from rllib_vlm_reward.evaluation.env_states import Axis, render_grid
    from rllib_vlm_reward.evaluation.landscape import lines, only_goal, save_curves, save_heat

    axes = [Axis.parse(text) for text in grid]
    frames = render_grid(experiment, axes, seed=seed)
    text = only_goal(experiment.vlm_reward, goal)
    states = frames.reshape(-1, *frames.shape[-3:])
    drawn = lines(rewards, states, text, device=device)
    frames = drawn[0].over(states).reshape(frames.shape)
    output.mkdir(parents=True, exist_ok=True)
    path = output / "landscape.png"
    if len(axes) == 1:
        save_curves(path, axes[0], frames, drawn, text)
    else:
        save_heat(path, axes, frames, drawn, text)
    return {
        "goal": text,
        "axes": [{"name": axis.name, "values": axis.values.tolist()} for axis in axes],
        "rewards": [line.to_dict() for line in drawn],
    }
