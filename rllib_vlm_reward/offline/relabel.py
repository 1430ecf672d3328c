"""Relabels a recording with the reward of any goal and model, on Ray Data."""

import dataclasses
import json
import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.data

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.errors import CheckpointError, ConfigError, FrameError, RewardError
from rllib_vlm_reward.files import FolderLock
from rllib_vlm_reward.offline.folder import Folder, Report
from rllib_vlm_reward.offline.relabeller import ERRORS_BY_NAME, Relabeller
from rllib_vlm_reward.offline.units import Unit, bundle, find_units
from rllib_vlm_reward.serving.deployment import Demand, joined_cluster

__all__ = ["Progress", "relabel"]

_ONLINE_ONLY = (
    "agents",
    "bonus",
    "early_end",
    "hints",
    "normalize_rewards",
)


@dataclasses.dataclass(frozen=True)
class Progress:
    """The progress of relabelling a recording.

    Attributes:
        units: total number of units, which are row groups.
        finished: number of finished units, including those of earlier runs.
        skipped: number of units that earlier runs finished.
        episodes: number of episodes in finished units; each chunk counts.
        unfinished: number of these that neither terminated nor were truncated.
        steps: number of steps with a reward.
        reward_mean: mean of the rewards.
        fires: number of steps with a VLM reward above 0; None without a threshold.
    """

    units: int
    finished: int
    skipped: int
    episodes: int
    unfinished: int
    steps: int
    reward_mean: float
    fires: int | None


def relabel(
    config: VLMRewardConfig,
    recording: Path,
    output: Path,
    *,
    goal: str | None = None,
    report: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Write recorded episodes to another folder, with the rewards of ``add_vlm_reward``.

    To resume after an interruption, make the same call again: it skips finished units. The function
    joins the Ray cluster of ``RAY_ADDRESS`` or starts a local one. All nodes must have access to
    both folders.

    Args:
        config: the reward. Its ``frames.source`` and ``goal_source`` have the same meaning as
            online, and its ``serving`` says how many actors load the model, and on which devices.
        recording: folder into which RLlib recorded episodes, or one parquet file in it.
        output: folder for the relabelled episodes, to be read with
            ``config.offline_data(input_=[...], input_read_episodes=True)``.
        goal: text of one of the config's goals, which becomes the goal of every episode
            (hindsight). None takes the goal that the env named at reset.
        report: called with the progress whenever some units are finished.

    Returns:
        The numbers of the whole recording, including earlier runs.

    Raises:
        FileNotFoundError: there is no recording.
        FileExistsError, ConfigError: the output folder contains other files, or rewards of other
            settings; or another process is writing it.
        FrameError, GoalError, RewardError: an episode cannot get a reward (the error names its
            file and row), or a setting is not possible for recorded episodes.
        CheckpointError, PoolError: the model cannot be loaded, or the actors cannot be placed.
        OSError: a file cannot be read or written, such as on a full disk.
    """
    from rllib_vlm_reward.reward_model.encoder import check_encoder

    _check_settings(config, goal)
    for each in config.encoders:
        check_encoder(*each)
    units = find_units(recording)
    _check_apart(recording, output)
    folder = Folder(output, config, goal)
    with FolderLock(output):
        reports = folder.finished(units)
        done, skipped = {each.unit for each in reports}, len(reports)
        encoder = _same_encoder(config, reports)
        todo = list(bundle([unit for unit in units if unit.name not in done]))
        progress = _progress(config, units, reports, skipped)
        report(progress)
        root = recording if recording.is_dir() else recording.parent
        given = {
            "recording": str(root.resolve()),
            "output": str(output.resolve()),
            "goal": goal,
            "encoder": encoder,
        }
        if not todo:
            return progress
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        with joined_cluster():
            for row in _run(config, todo, given):
                if row["error"] == OSError.__name__:
                    raise OSError(*json.loads(row["report"]))
                if row["error"]:
                    raise ERRORS_BY_NAME[row["error"]](row["report"])
                reports += [Report(**each) for each in json.loads(row["report"])]
                _same_encoder(config, reports)
                progress = _progress(config, units, reports, skipped)
                report(progress)
        return progress


def _run(
    config: VLMRewardConfig, bundles: Sequence[list[Unit]], given: dict[str, Any]
) -> Iterator[dict[str, str]]:
    """Yield the results of :class:`Relabeller` for each bundle, as soon as it is finished."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    demands = [Demand.of(each, nodes) for each in config.by_expert.values()]
    # Each of Ray Data's actors has the models of all experts, one of which computes at a time.
    demand = Demand(
        actors=demands[0].actors,
        cpus=max(each.cpus for each in demands),
        gpus=max(each.gpus for each in demands),
    )
    demand.check(nodes)
    rows = [{"units": json.dumps([dataclasses.asdict(unit) for unit in each])} for each in bundles]
    # Ray Data makes one task of each block; by default, all bundles would be in one block.
    data = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        Relabeller,
        fn_constructor_args=(config,),
        fn_constructor_kwargs={**given, "num_cpus": demand.cpus, "folder": os.getcwd()},
        compute=ray.data.ActorPoolStrategy(
            size=min(demand.actors, len(rows)), max_tasks_in_flight_per_actor=2
        ),
        num_cpus=demand.cpus,
        num_gpus=demand.gpus,
    )
    data.context.enable_progress_bars = False
    yield from data.iter_rows()


def _check_settings(config: VLMRewardConfig, goal: str | None) -> None:
    if "render" in config.sources:
        raise FrameError(
            "frames.source: got 'render', but a recording contains only observations and infos, "
            "no rendered frames. Set frames.source to obs, obs:KEY or info:KEY, depending on where "
            "the recording has uint8 RGB frames."
        )
    for key in _ONLINE_ONLY:
        default = type(config).model_fields[key].get_default(call_default_factory=True)
        if getattr(config, key) != default:
            raise RewardError(
                f"{key}: got {getattr(config, key)!r}, expected the default {default!r}, since "
                f"relabelling does not support {key}. Remove the key."
            )
    if goal is None:
        return
    config.goal_set.index(goal)
    if config.goal_source.startswith("obs:") and len(config.goal_set) > 1:
        raise RewardError(
            f"goal: got {goal!r}, but the recorded observations name another goal "
            f"({config.goal_source!r}), which the policy would see. Leave --goal out, or set "
            "goal_source to info:KEY."
        )


def _check_apart(recording: Path, output: Path) -> None:
    one, other = recording.resolve(), output.resolve()
    if one == other or one in other.parents or other in one.parents:
        raise ConfigError(
            f"output: got {output}, which is the recording {recording}, or one contains the other. "
            "Choose an output folder outside of the recording."
        )


def _same_encoder(config: VLMRewardConfig, reports: Sequence[Report]) -> str | None:
    encoders = {each.encoder for each in reports}
    if len(encoders) > 1:
        raise CheckpointError(
            f"encoder {config.leading.encoder!r}: the actors loaded different weights, expected "
            "the same weights in all. Copy the same checkpoint to every node, and relabel into "
            "another folder."
        )
    return next(iter(encoders), None)


def _progress(
    config: VLMRewardConfig, units: Sequence[Unit], reports: Sequence[Report], skipped: int
) -> Progress:
    steps = sum(each.steps for each in reports)
    return Progress(
        units=len(units),
        finished=len(reports),
        skipped=skipped,
        episodes=sum(each.episodes for each in reports),
        unfinished=sum(each.unfinished for each in reports),
        steps=steps,
        reward_mean=sum(each.reward_sum for each in reports) / max(steps, 1),
        fires=None if config.threshold_in_force is None else sum(each.fires for each in reports),
    )
