"""Population-based training: the successor gets the donor's curriculum, and pays by a new β."""

import dataclasses
import importlib
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining
from test_search import with_reward

from rllib_vlm_reward import Experiment
from rllib_vlm_reward.connectors.curriculum_progress import curriculum_progress
from rllib_vlm_reward.connectors.pipeline import reward_piece
from rllib_vlm_reward.monitoring import Recorder
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.run.progress import read_progress
from rllib_vlm_reward.sweep import ExperimentTrial, search

# Random play scores above these on none or few, 3/4, 1/2 and 1/4 of its frames.
SUCCESSORS = 0.9
BETAS = [1e-5, 1e-4, 1e-3]
DONORS = BETAS[1]  # whose neighbours, one of which the successor gets, are neither's
EXPLOIT_AFTER = 3  # reports, of 5


class Notes:
    """An actor that keeps what the trials tell, in its order, and which iterations were saved."""

    def __init__(self):
        self._notes, self._saved = [], set()

    def save(self, threshold, iteration):
        self._saved.add((threshold, iteration))

    def is_saved(self, threshold, iteration):
        return (threshold, iteration) in self._saved

    def add(self, note):
        self._notes.append(note)

    def all(self):
        return self._notes


@dataclasses.dataclass
class Note:
    """What a trial saw in itself, after a report or (``checkpoint``) after an exploit."""

    trial: str
    iteration: int
    threshold: float
    course: dict[str, Any]
    record: list[Any]  # what its frames scored, see VLMReward.record
    learnt: list[Any]  # (episode, t_started, rewards) that its learner was given
    checkpoint: list[Any] | None = None  # the history in the checkpoint


class Told(ExperimentTrial):
    """Tells what is paid to the learner, and is the better one where β is the donor's."""

    def setup(self, config):
        super().setup(config)
        self._recorder, self._learnt = Recorder(), []
        reward_piece(self._algorithm.env_runner).record(self._recorder)
        group = self._algorithm.learner_group
        update = group.update

        def witnessed(*args, episodes, **kwargs):
            for chunk in episodes:
                self._learnt.append((chunk.id_, chunk.t_started, np.array(chunk.get_rewards())))
            return update(*args, episodes=episodes, **kwargs)

        group.update = witnessed

    def step(self):
        report = super().step()
        self._tell()
        if self._own_threshold == SUCCESSORS and self._history[-1].iteration == EXPLOIT_AFTER:
            # Ray 2.60 ends a trial after its next save, if it is exploited while it saves: in
            # synchronous training any but the last to report may be. So the successor is the last.
            while not ray.get(_notes().is_saved.remote(DONORS, EXPLOIT_AFTER)):
                time.sleep(0.1)
        self._recorder.frames.clear()
        self._learnt.clear()
        return {**report, "objective": float(self.config["vlm_reward"]["threshold"] == DONORS)}

    def save_checkpoint(self, folder):
        super().save_checkpoint(folder)
        ray.get(_notes().save.remote(self._own_threshold, self._history[-1].iteration))

    def load_checkpoint(self, checkpoint):
        super().load_checkpoint(checkpoint)
        self._tell(read_progress(Path(checkpoint, "progress.jsonl")))

    def _tell(self, checkpoint=None):
        note = Note(
            trial=self.trial_id,
            iteration=self._history[-1].iteration,
            threshold=self._own_threshold,
            course=curriculum_progress(self._algorithm),
            record=self._recorder.frames,
            learnt=self._learnt,
            checkpoint=checkpoint,
        )
        ray.get(_notes().add.remote(note))

    @property
    def _own_threshold(self):
        return reward_piece(self._algorithm.env_runner).config.threshold


def _notes():
    return ray.get_actor("notes")


@pytest.fixture(scope="module")
def exploited(cluster, tmp_path_factory):
    """A search with one exploit: the configurations that were mutated, and the trials' notes."""
    mutated = []

    def explore(config):
        mutated.append(config)
        return config

    # Synchronous, or the donor may be through before the successor has reported.
    scheduler = PopulationBasedTraining(
        time_attr="training_iteration",
        perturbation_interval=EXPLOIT_AFTER,
        hyperparam_mutations={"vlm_reward": {"threshold": BETAS}},
        resample_probability=0.0,
        quantile_fraction=0.5,
        custom_explore_fn=explore,
        synch=True,
    )
    space = with_reward(
        threshold=tune.grid_search([SUCCESSORS, DONORS]),
        serving={"pool_name": "population", "precision": "fp32"},
    )
    notes = ray.remote(num_cpus=0)(Notes).options(name="notes").remote()
    with pytest.MonkeyPatch.context() as patch:
        module = importlib.import_module("rllib_vlm_reward.sweep.search")
        patch.setattr(module, "ExperimentTrial", Told)
        search(space, tmp_path_factory.mktemp("pbt"), num_samples=1, scheduler=scheduler)
    yield mutated, ray.get(notes.all.remote())
    ray.kill(notes)


@pytest.fixture(scope="module")
def parts(exploited):
    """The donor's reports, the exploit, and the successor's reports before and after it."""
    _, notes = exploited
    (exploit,) = (note for note in notes if note.checkpoint and note.threshold != DONORS)
    successors = [note for note in notes if note.trial == exploit.trial]
    at = successors.index(exploit)
    donors = [note for note in notes if note.trial != exploit.trial and not note.checkpoint]
    return donors, successors[:at], exploit, successors[at + 1 :]


@pytest.fixture(scope="module")
def model():
    return RewardModel(CLIPEncoder.load("small", precision="fp32"))


def paid_and_scores(notes, model):
    """Return each step's reward as the learner got it, and its frame's score as of here."""
    config = Experiment.model_validate(with_reward()).vlm_reward
    frames, goals, paid = [], [], []
    for note in notes:
        seen = {(it.episode, it.t): (it.frame, it.goal) for it in note.record}
        for episode, t_started, rewards in note.learnt:
            for t, reward in enumerate(rewards, start=t_started + 1):
                frame, goal = seen[episode, t]
                frames.append(frame)
                goals.append(config.goal_set.texts.index(goal))
                paid.append(reward)
    scores = model.score(np.stack(frames), np.array(goals), config.scorer)
    return np.array(paid), scores


def by(beta, scores):
    """Return what scores pay by β, as in the paper's equation 2."""
    return np.where(scores > beta, 1.0, 0.0)


def test_the_successors_beta_is_the_mutated_one(exploited, parts):
    (config,) = exploited[0]
    donors, before, exploit, after = parts
    mutated = config["vlm_reward"]["threshold"]
    assert mutated in BETAS
    assert mutated not in (SUCCESSORS, DONORS)
    assert {note.threshold for note in before} == {SUCCESSORS}
    assert {note.threshold for note in (exploit, *after)} == {mutated}
    assert {note.threshold for note in donors} == {DONORS}


def test_the_successors_curriculum_is_the_donors(parts):
    donors, before, exploit, after = parts
    assert [note.iteration for note in donors] == [1, 2, 3, 4, 5]
    assert [note.iteration for note in before] == [1, 2, 3]
    assert [note.iteration for note in after] == [4, 5]
    donor, own = donors[EXPLOIT_AFTER - 1], before[-1]
    assert exploit.course == donor.course == exploit.checkpoint[-1].curriculum
    assert own.course != donor.course
    # It goes on from there: no episode of the donor's is forgotten.
    gone_on = [after[-1].course["goals"][text]["episodes"] for text in donor.course["goals"]]
    known = [goal["episodes"] for goal in donor.course["goals"].values()]
    assert all(now >= then for now, then in zip(gone_on, known, strict=True))
    assert sum(gone_on) > sum(known) > 0


@pytest.mark.parametrize("is_after", [False, True])
def test_the_learner_is_paid_by_the_beta_of_its_time(parts, model, is_after):
    _, before, exploit, after = parts
    notes, beta = (after, exploit.threshold) if is_after else (before, SUCCESSORS)
    paid, scores = paid_and_scores(notes, model)
    assert len(paid) == 64 * len(notes)
    # Where the last bits of a score, which depend on its batch, cannot decide.
    clear = abs(scores / beta - 1) > 1e-3
    assert clear.mean() > 0.95
    assert (paid == by(beta, scores))[clear].all()
    for other in {SUCCESSORS, DONORS, exploit.threshold} - {beta}:
        assert (paid != by(other, scores))[clear].mean() > 0.1
