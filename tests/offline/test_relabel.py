"""Recordings of RLlib's own recorder, relabelled; every row is recounted here."""

import contextlib
import dataclasses
import errno
import functools
import os
import resource
import shutil
import signal
import subprocess
import time
from pathlib import Path

import fork_server
import numpy as np
import pytest
import ray.data
from recording import expected, read, record, rewards
from scenes import GOALS

from rllib_vlm_reward.config import read_config
from rllib_vlm_reward.connectors.map_reader import MapReader
from rllib_vlm_reward.errors import ConfigError, FrameError, GoalError, RewardError
from rllib_vlm_reward.monitoring import constancy
from rllib_vlm_reward.offline import relabel, units
from rllib_vlm_reward.offline.folder import Folder


@pytest.fixture(autouse=True, scope="module")
def small_bundles():
    """Several tasks, though little is recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(units, "_BUNDLE_UNITS", 3)
        yield


@pytest.fixture(scope="module")
def relabelled(rewarded, vlm_config, tmp_path_factory):
    """The rewarded episodes with the same reward once more: their folder, and all progress."""
    folder, progress = tmp_path_factory.mktemp("relabelled") / "out", []
    relabel(vlm_config(serving={"num_actors": 2}), rewarded, folder, report=progress.append)
    return folder, progress


def mismatches(got, want):
    assert [len(each) for each in got] == [len(each) for each in want]
    return int((np.abs(np.concatenate(got) - np.concatenate(want)) > 1e-5).sum())


def strip(state):
    """The state without what a reward may change."""
    infos = [{k: v for k, v in i.items() if k != "env_reward"} for i in state["infos"]["data"]]
    data = {"infos": infos, "rewards": None, "custom_data": None}
    return repr({**state, **data})


def test_rewards_are_those_that_were_paid_online(rewarded, relabelled):
    recorded, again = read(rewarded), read(relabelled[0])
    assert len(recorded) == 24
    assert mismatches(map_(rewards, again), map_(rewards, recorded)) == 0
    assert len({reward for state in recorded for reward in rewards(state).tolist()}) > 100


def test_nothing_else_changes(rewarded, relabelled):
    recorded, again = read(rewarded), read(relabelled[0])
    assert map_(strip, again) == map_(strip, recorded)
    kept = [[info.get("env_reward") for info in state["infos"]["data"]] for state in again]
    assert kept == [[None, *(-101.0 - t for t in range(len(some) - 1))] for some in kept]


def test_progress_is_told_and_ends_with_the_whole(relabelled):
    folder, progress = relabelled
    states = read(folder)
    paid = np.concatenate(map_(rewards, states))
    assert [each.finished for each in progress] == list(range(0, 25, 3))
    last = dataclasses.asdict(progress[-1])
    assert last.pop("reward_mean") == pytest.approx(paid.mean(), abs=1e-6)
    assert last == {
        "units": 24, "finished": 24, "skipped": 0, "episodes": 24, "unfinished": 0,
        "steps": len(paid), "fires": None,
    }  # fmt: skip


def test_any_goal_and_reward_can_be_given(in_this_process, unrewarded, vlm_config, tmp_path):
    scores = np.sort(np.concatenate(expected(read(unrewarded), vlm_config(), GOALS[2])))
    middle = len(scores) // 4 + np.diff(scores)[len(scores) // 4 : -len(scores) // 4].argmax()
    threshold = float(scores[middle : middle + 2].mean())  # as far as can be from any score
    config = vlm_config(threshold=threshold, env_reward_weight=0.01)
    last = relabel(config, unrewarded, tmp_path / "out", goal=GOALS[2])
    recorded, again = read(unrewarded), read(tmp_path / "out")
    paid = expected(recorded, config, GOALS[2])
    want = [p + np.float32(0.01) * rewards(s) for p, s in zip(paid, recorded, strict=True)]
    assert mismatches(map_(rewards, again), want) == 0
    assert last.fires == sum(int(each.sum()) for each in paid)
    assert 0 < last.fires < last.steps
    assert {state["infos"]["data"][0]["goal"] for state in again} == {GOALS[2]}


def test_a_second_run_skips_what_is_finished(rewarded, relabelled, vlm_config):
    folder, progress = relabelled
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}
    last = relabel(vlm_config(), rewarded, folder)
    assert last == dataclasses.replace(progress[-1], skipped=24)
    assert before == {path: path.stat().st_mtime_ns for path in folder.rglob("*.parquet")}


def test_experts_are_combined_as_online(in_this_process, unrewarded, vlm_config, tmp_path):
    experts = {"sharp": {}, "flat": {"head": {"kind": "softmax", "temperature": 1.0}}}
    config = vlm_config(experts=experts)
    relabel(config, unrewarded, tmp_path / "out")
    again, recorded = read(tmp_path / "out"), read(unrewarded)
    each = {name: expected(recorded, alone) for name, alone in config.by_expert.items()}
    want = [np.mean(both, axis=0) for both in zip(*each.values(), strict=True)]
    assert mismatches(map_(rewards, again), want) == 0
    assert mismatches(map_(rewards, again), each["flat"]) > 100
    for number, state in enumerate(again):
        said = [info.get("expert_scores") for info in state["infos"]["data"]]
        assert said[0] is None
        for name, scores in each.items():
            found = [row[name] for row in said[1:]]
            np.testing.assert_allclose(found, scores[number], atol=1e-5)
    # Relabelled once more by one encoder, nobody says anything.
    relabel(vlm_config(), tmp_path / "out", tmp_path / "single")
    infos = [info for state in read(tmp_path / "single") for info in state["infos"]["data"]]
    assert not [info for info in infos if "expert_scores" in info]


RUN = """
import os, sys, ray
from pathlib import Path
from rllib_vlm_reward.config import read_config
from rllib_vlm_reward.offline import relabel, units
units._BUNDLE_UNITS = 1
ray.init(address="local", num_cpus=2, include_dashboard=False, object_store_memory=100_000_000,
         log_to_driver=False)
print(os.getpid(), flush=True)
relabel(read_config(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_killed_half_way_nothing_is_lost_or_doubled(rewarded, relabelled, vlm_config, tmp_path):
    config, out = tmp_path / "config.yaml", tmp_path / "out"
    config.write_text(vlm_config().to_yaml())
    words = [*fork_server.python(), "-c", RUN, config, rewarded, out]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as run:
        try:
            process = int(run.stdout.readline())
            while run.poll() is None and len(list(out.rglob("[!.]*.parquet"))) < 5:
                time.sleep(0.001)
            os.kill(process, signal.SIGKILL)
        except BaseException:
            run.kill()  # or the with block would wait for it for ever
            raise
    assert run.returncode == -signal.SIGKILL
    last = relabel(read_config(config), rewarded, out)
    assert 5 <= last.skipped < last.finished == 24
    (_, progress), files = relabelled, functools.partial(sorted_files, out)
    assert last == dataclasses.replace(
        progress[-1], skipped=last.skipped, reward_mean=last.reward_mean
    )
    assert files() == sorted_files(relabelled[0])
    assert map_(strip, read(out)) == map_(strip, read(relabelled[0]))
    assert mismatches(map_(rewards, read(out)), map_(rewards, read(relabelled[0]))) == 0


@pytest.fixture
def full_disk():
    """A context in which no file can become longer than some bytes."""

    @contextlib.contextmanager
    def full(largest_file):
        before = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)

    return full


@pytest.mark.parametrize("largest_file", [0, 1_000])
def test_a_full_disk_is_an_error_and_leaves_no_torn_file(
    largest_file, in_this_process, unrewarded, vlm_config, full_disk, tmp_path
):
    config, out = vlm_config(), tmp_path / "out"
    Folder(out, config, None)  # with its settings, which are longer
    with full_disk(largest_file), pytest.raises(OSError, match="File too large") as raised:
        relabel(config, unrewarded, out)
    assert raised.value.errno == errno.EFBIG
    assert not [*out.rglob("*.parquet"), *out.rglob("*.tmp")]
    assert relabel(config, unrewarded, out).finished == 24


def test_an_error_names_file_and_row(in_this_process, unrewarded, vlm_config, tmp_path):
    with pytest.raises(GoalError, match=r"\.parquet, row 0 of row group 0: .*unknown goal"):
        relabel(vlm_config(goals=["a red wall", "a door"]), unrewarded, tmp_path / "a")
    assert not list(tmp_path.rglob("*.parquet"))
    assert not list(tmp_path.rglob(".new-*"))


@pytest.mark.parametrize(
    ("changes", "error", "told"),
    [
        ({"frames": {"source": "render"}}, FrameError, "frames.source to obs, obs:KEY or info:KEY"),
        ({"early_end": True, "threshold": 0.5}, RewardError, "early_end"),
        (
            {"bonus": {"kind": "focal", "weight": 1.0}, "templates": [{"noun": "{}"}]},
            RewardError,
            "relabelling does not support bonus. Remove the key",
        ),
        (
            {"hints": {"goals": {"a {} wall": ["some {0}"]}, "weight": 1.0, "threshold": 0.5}},
            RewardError,
            "relabelling does not support hints. Remove the key",
        ),
    ],
)
def test_what_a_recording_does_not_allow_is_refused_at_once(
    vlm_config, tmp_path, changes, error, told
):
    with pytest.raises(error, match=told):
        relabel(vlm_config(**changes), tmp_path / "none", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_an_unknown_goal_is_refused_at_once(vlm_config, tmp_path):
    with pytest.raises(GoalError, match="The closest is 'a red wall'"):
        relabel(vlm_config(), tmp_path / "none", tmp_path / "out", goal="a red wal")


def test_scores_that_never_change_are_loud(
    in_this_process, monkeypatch, unrewarded, vlm_config, tmp_path
):
    monkeypatch.setattr(constancy, "MIN_FRAMES", 64)
    config = vlm_config(head={"kind": "softmax", "temperature": 1e9})  # a softmax of 1/3 everywhere
    with pytest.raises(RewardError, match="expected different scores"):
        relabel(config, unrewarded, tmp_path / "out")
    assert not list(tmp_path.rglob(".new-*"))


def test_a_folder_in_the_other_is_refused(unrewarded, vlm_config):
    with pytest.raises(ConfigError, match="or one contains the other"):
        relabel(vlm_config(), unrewarded, unrewarded / "out")


def test_chunks_are_relabelled_and_counted(in_this_process, cluster, vlm_config, tmp_path):
    record(tmp_path / "in", mode="truncate_episodes", samples=4)
    last = relabel(vlm_config(), tmp_path / "in", tmp_path / "out", goal=GOALS[0])
    recorded, again = read(tmp_path / "in"), read(tmp_path / "out")
    want = expected(recorded, vlm_config(), GOALS[0])
    assert mismatches(map_(rewards, again), want) == 0
    done = [state["is_terminated"] or state["is_truncated"] for state in recorded]
    assert last.unfinished == done.count(False) > 0


def test_a_goal_conditioned_recording_is_shown_its_new_goal(
    in_this_process, cluster, local_pool, vlm_config, tmp_path
):
    config = vlm_config(goal_embedding=True)
    record(tmp_path / "in", config, samples=1)
    relabel(config, tmp_path / "in", tmp_path / "out", goal=GOALS[2])
    (embedding,) = local_pool.embed_texts([GOALS[2]])
    for old, new in zip(read(tmp_path / "in"), read(tmp_path / "out"), strict=True):
        for before, after in zip(
            old["observations"]["data"], new["observations"]["data"], strict=True
        ):
            assert np.array_equal(before["observation"], after["observation"])
            assert np.allclose(after["goal"], embedding, atol=1e-6)
        assert old["observations"]["space"] == new["observations"]["space"]


def test_the_map_of_a_recording_is_what_the_policy_saw(
    in_this_process, cluster, local_pool, vlm_config, tmp_path
):
    config = vlm_config(goal_embedding=True, goal_map=True, templates=[{"noun": "{}"}])
    record(tmp_path / "in", config, samples=1)
    relabel(config.model_copy(update={"threshold": 0.34}), tmp_path / "in", tmp_path / "out")
    recorded = read(tmp_path / "in")
    find, maps = MapReader(config, local_pool.model.encoder), []
    for old, new in zip(recorded, read(tmp_path / "out"), strict=True):
        goal = old["infos"]["data"][0]["goal"]
        for before, after in zip(
            old["observations"]["data"], new["observations"]["data"], strict=True
        ):
            assert np.array_equal(before["map"], after["map"])
            expected = find(before["observation"], goal)
            np.testing.assert_allclose(before["map"], expected, atol=1e-5)
            maps.append(before["map"])
        assert old["observations"]["space"] == new["observations"]["space"]
        assert set(rewards(new)) <= {0.0, 1.0}
    assert np.ptp(maps) > 1e-3
    for shows in (True, False):
        other = config.model_copy(update={"goal_map": shows})
        with pytest.raises(RewardError, match=r"the recorded observations have maps of the goal"):
            relabel(other, tmp_path / "in", tmp_path / f"hindsight-{shows}", goal=GOALS[2])


def test_maps_stay_only_beside_the_embedding_of_their_encoder(
    in_this_process, cluster, local_pool, vlm_config, tmp_path
):
    config = vlm_config(goal_embedding=True, goal_map=True, templates=[{"noun": "{}"}])
    record(tmp_path / "in", config, samples=1)
    others = {
        "weights": {"encoder": "grounded"},
        "prompt": {"templates": [{"noun": "{}", "prompt": "no {}"}]},
        "size": {"goal_map": [3, 3]},
        "weights, and no map": {"encoder": "grounded", "goal_map": False},
    }
    for name, changes in others.items():
        with pytest.raises(RewardError, match=r"goal_map: the policy saw maps of .* goal_emb"):
            relabel(config.model_copy(update=changes), tmp_path / "in", tmp_path / name)
    kept = config.model_copy(update={"encoder": "grounded", "goal_embedding": False})
    relabel(kept, tmp_path / "in", tmp_path / "kept")
    for old, new in zip(read(tmp_path / "in"), read(tmp_path / "kept"), strict=True):
        assert repr(old["observations"]) == repr(new["observations"])


def test_a_map_that_no_policy_saw_cannot_be_relabelled(
    in_this_process, unrewarded, vlm_config, tmp_path
):
    config = vlm_config(goal_embedding=True, goal_map=True, templates=[{"noun": "{}"}])
    with pytest.raises(RewardError, match=r"have no map, since .* Set goal_map: false"):
        relabel(config, unrewarded, tmp_path / "out")


def test_ray_data_reads_the_episodes_and_nothing_else(relabelled):
    data = ray.data.read_parquet([str(relabelled[0])])
    assert data.schema().names == ["item"]
    assert data.count() == 24


def test_a_damaged_output_is_named_and_can_be_repeated(
    in_this_process, relabelled, rewarded, vlm_config, tmp_path
):
    config, out = vlm_config(serving={"num_actors": 2}), tmp_path / "out"
    shutil.copytree(relabelled[0], out)
    file = min(out.rglob("*.parquet"))
    whole = file.read_bytes()
    for content in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"{file.name} is damaged .* repeat the command"):
            relabel(config, rewarded, out)
    file.unlink()
    assert relabel(config, rewarded, out).skipped == 23
    for content in ("", "{", "[1]", "5"):
        (out / "relabel.json").write_text(content)
        with pytest.raises(ConfigError, match=r"relabel\.json cannot be read"):
            relabel(config, rewarded, out)


def test_a_damaged_page_of_a_recording_names_its_file(
    in_this_process, unrewarded, vlm_config, tmp_path
):
    shutil.copytree(unrewarded, tmp_path / "in")
    file = min((tmp_path / "in").rglob("*.parquet"))
    content = file.read_bytes()
    file.write_bytes(content[:4] + b"\xff" * 36 + content[40:])  # its footer is whole
    with pytest.raises(ConfigError, match=rf"{file.name}: row group 0 is damaged .*Copy the file"):
        relabel(vlm_config(), tmp_path / "in", tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.parquet"))


def sorted_files(folder):
    return sorted(path.relative_to(folder) for path in Path(folder).rglob("*") if path.is_file())


def map_(function, states):
    return list(map(function, states))
