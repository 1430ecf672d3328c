"""``rllib-vlm-reward play``: watch a trained agent."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer
from rich.console import Console

from rllib_vlm_reward.cli.app import app, quiet, say_loading
from rllib_vlm_reward.cli.arguments import check_ending, check_output

if TYPE_CHECKING:
    from rllib_vlm_reward.run.play import PlayedEpisode


@app.command("play")
def play_command(
    run: Annotated[
        Path,
        typer.Argument(
            help="Folder that `train` wrote.", exists=True, file_okay=False, metavar="RUN"
        ),
    ],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to play.")] = 5,
    goal: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Goal of each episode; it may be one that the run did not have. By default the "
            "env chooses.",
        ),
    ] = None,
    gif: Annotated[
        Path | None, typer.Option(metavar="FILE", help="GIF of the episodes to write.")
    ] = None,
    render: Annotated[bool, typer.Option("--render", help="Open the env's own window.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the first episode's layout.")] = 0,
) -> None:
    """Watch the trained agent of a run in the run's env.

    The command prints a line for each episode: success by ground truth, the env's own return, the
    number of steps, and the goal. The agent explores only if the run is evaluated with exploration
    (`evaluation: {evaluation_config: {explore: true}}`). Ray and reward actors do not start,
    because no reward is computed. The CLIP is loaded only for a goal that the run did not have.

    Examples: `rllib-vlm-reward play runs/quickstart --gif runs/agent.gif`,
    `rllib-vlm-reward play runs/quickstart --episodes 1 --goal "pick up the red ball" --render`
    """
    if gif is not None and render:
        raise typer.BadParameter(
            "give --gif or --render, one of them: an env draws either frames or a window."
        )
    if gif is not None:
        check_output(gif)
        check_ending(gif, ".gif")
    say_loading()
    from rllib_vlm_reward.run.frame_pictures import save_video
    from rllib_vlm_reward.run.play import play

    quiet()
    say = Console(highlight=False, markup=False)
    played: list[PlayedEpisode] = []
    for episode in play(
        run, episodes=episodes, goal=goal, seed=seed, pictures=gif is not None, render=render
    ):
        played.append(episode)
        say.print(_line(len(played), episode), soft_wrap=True)
    say.print(_summary(played))
    if gif is not None:
        save_video(gif, [moment for episode in played for moment in episode.moments])
        say.print(f"{gif} holds {len(played)} episodes.", soft_wrap=True)


def _line(number: int, episode: "PlayedEpisode") -> str:
    success = {True: "success", False: "failure", None: "success unknown"}[episode.success]
    goal = "no goal" if episode.goal is None else episode.goal
    parts = (f"{success:<7}", f"return {episode.env_return:.2f}", f"{episode.length} steps", goal)
    return "  ".join([f"{number:>3}", *parts])


def _summary(played: "list[PlayedEpisode]") -> str:
    known = [episode.success for episode in played if episode.success is not None]
    mean = np.mean([episode.env_return for episode in played])
    successes = f"success in {sum(known)} of {len(known)} episodes, " if known else ""
    return f"{successes}mean return {mean:.2f}"
