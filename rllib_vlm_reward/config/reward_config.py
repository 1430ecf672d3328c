"""The settings of a run's reward."""

import dataclasses
import json
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import Field, PositiveInt

from rllib_vlm_reward.config.bonus_config import NOTHING, BonusConfig, compared_words
from rllib_vlm_reward.config.calibration import (
    Calibration,
    TrustCalibration,
    inline_calibration,
)
from rllib_vlm_reward.config.frame_config import FrameConfig, path_of
from rllib_vlm_reward.config.goal_config import GoalConfig, TemplateConfig, resolve_goals
from rllib_vlm_reward.config.hints_config import HintsConfig
from rllib_vlm_reward.config.scope import AGENT, ELSEWHERE, EXPERT, RUN, SERVED, scope_of
from rllib_vlm_reward.config.serving_config import ServingConfig
from rllib_vlm_reward.errors import GoalError, RewardError
from rllib_vlm_reward.goals import (
    CURRICULUM_FIELDS,
    Goal,
    GoalSet,
    HintSet,
    Template,
    expand_goals,
)
from rllib_vlm_reward.reward_model.combiner import Combiner, CombineRule, Rule
from rllib_vlm_reward.reward_model.heads import (
    Head,
    Softmax,
    head_settings,
    head_summary,
    make_head,
)
from rllib_vlm_reward.reward_model.heads.base import digest_of
from rllib_vlm_reward.reward_model.panel import Expert, Panel
from rllib_vlm_reward.reward_model.readouts import GoalMap, HintScores, Holds, Readout
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.settings import (
    Positive,
    Section,
    dump_settings,
    excerpt,
    import_path_of,
    messages,
    parse_settings,
)

__all__ = ["VLMRewardConfig"]

_CHOICE = re.compile(r"[{}]|\|")
_GOAL_KEYS = ("goals", "templates")
_MOST_EXPERTS = 5  # a calibration holds weights for each of their 31 sets
# In a checkpoint, these are settings of each expert.
_OF_EXPERTS = ("encoder", "templates", "head", "frames.source", "serving.precision")
_MOST_HOLDING = 32  # goals that a frame names for hindsight
# Why a copy of an episode for another goal could not have the right reward or observation.
_NOT_WITH_HINDSIGHT = {
    "experts": "since a single encoder says which goals hold in a frame",
    "bonus": "since the bonus of an episode is that of its own goal",
    "hints": "since the hints of an episode are those of its own goal",
    "goal_map": "since the map in an episode's observations is that of its own goal",
    "normalize_rewards": "since the reward of a copy is 1, which nothing divides",
    "env_reward_weight": "since the env's reward is that of the episode's own goal",
}
_EXPERT_NAME = re.compile(r"[A-Za-z0-9_-]+")


def _make_head(given: Any) -> Head:
    try:
        return make_head(given)
    except RewardError as error:
        raise ValueError(str(error).removeprefix("head: ")) from error


class VLMRewardConfig(Section, place="vlm_reward"):
    """The reward of a run: encoder, goals, head, and how the reward is computed and paid.

    Attributes:
        encoder: an open_clip model as ``"architecture/pretrained"``, a checkpoint file as
            ``"architecture/path.safetensors"``, a folder in open_clip's layout, the name of a
            shipped CLIP (``"small"``, ``"base"``, ``"grounded"``, ``"house"``,
            ``"android"``), or ``"architecture/random"``; or the import path of your own
            :class:`.Encoder`.
        goals: a list of texts (``{a|b}`` expands to both) or, for a goal in full, of
            :class:`.GoalConfig`; or a mapping, see :class:`.Grammar`; or the path of a YAML file,
            see :class:`.GoalFile`. Mapping and file are expanded when the configuration is created.
        evaluation_goals: goals held out of training. Training stops with an error if an episode
            has one of these goals; evaluation accepts all goals.
        templates: turn a goal's text into the prompt that CLIP reads; the first one that matches
            is used.
        negatives: statements, as CLIP reads them, that are added to the negatives of every goal.
        num_negatives: how many other goals to draw as negatives; None takes all.
        negatives_seed: seed for drawing the negatives, which happens once per run.
        baseline: baseline of every goal, for the ``goal_baseline`` head.
        head: how scores are computed: ``softmax`` (the paper's equation 1), ``cosine``,
            ``goal_baseline`` (vlmrm), ``sigmoid`` (SigLIP) or ``dense`` (max(p − 1/N, 0),
            MineCLIP's direct reward); or with settings, ``{kind: softmax, temperature: 0.01}`` (τ;
            None takes the model's, 1/exp(logit_scale)) or ``{kind: goal_baseline, alpha: 0.5}``
            (strength of the regularisation, 0 to 1); or the import path of your own
            :class:`.Head`.
        threshold: β of the paper's equation 2, within the head's range: the reward is 1 if the
            score exceeds it, else 0. None makes the score the reward.
        calibration: the content or path of a file that ``rllib-vlm-reward calibrate`` wrote. Its
            threshold and temperature are used. It is an error if it was made for another reward or
            encoder.
        frames: which frames are scored, see :class:`.FrameConfig`.
        mode: ``synchronous`` reads each reward before the next step; ``deferred`` reads rewards
            when the fragment ends, so that stepping and scoring overlap.
        early_end: end the episode when the reward is 1, as in the paper. Needs synchronous mode.
        normalize_rewards: divide the VLM's rewards by the running standard deviation of their
            discounted return, as gymnasium's NormalizeReward does. Evaluation does not divide them.
        env_reward_weight: factor of the env's reward that is added to the VLM's reward; with 0 the
            learner does not see the env's reward.
        bonus: what is paid beside the goal's reward, see :class:`.BonusConfig`; None pays nothing.
        hints: statements that an agent reaches on the way to its goal, which are paid beside the
            goal's reward, see :class:`.HintsConfig`; None pays nothing.
        goal_source: where to find an episode's goal text, ``info:KEY`` or ``obs:KEY``. It is not
            read if there is a single goal.
        success_key: info key of ground-truth success, which is reported if the env has it.
        goal_embedding: show the policy the goal: the observation becomes
            ``{"observation": ..., "goal": float32 [D]}``, with CLIP's embedding of the prompt. If
            neither this nor a policy is set, and the observations are uint8 frames, it is true.
        goal_map: show the policy also where the goal's ``noun`` is: the observation gets the entry
            ``"map"``, float32 ``[h, w, 1]``, with the probability of the noun in each patch of the
            frame. Needs ``goal_embedding`` and synchronous mode. ``true`` takes the encoder's
            number of patches; ``[h, w]`` is for an encoder of your own.
        hindsight: how many copies of an episode DQN and SAC learn from at most, each for another
            goal that the episode reached by chance, see docs/hindsight.md. Needs ``threshold`` and
            ``goal_embedding``. None makes no copies.
        serving: where and how scores are computed, see :class:`.ServingConfig`.
        experts: several encoders that score each frame, see docs/experts.md: a mapping from an
            expert's name to the keys that differ, of encoder, head, templates, frames (its source)
            and serving. Each has a pool of its own, and all are asked at the same time. Up to 5.
        combine: how the experts' scores become one without a calibration: ``mean``, ``max`` or
            ``noisy_or``, 1 − (1 − p)(1 − q)… of probabilities.
        agents: in a multi-agent env, the agents whose rewards differ: a mapping from an agent's id
            to the keys that differ, such as goals, head, threshold and frames. The encoder and
            ``serving`` are common to all agents. None instead of keys keeps the env's reward.
        alarms: what happens if the reward cannot be trusted: ``warn`` logs it, ``error`` ends
            training with an error, ``off`` disables the checks. See docs/alarms.md.
        stalled_seconds: seconds of training without a new env step after which training ends with
            an error that says which env runners, actors or nodes are missing. Raise it if the env
            needs longer for a fragment.
        may_change: allow restoring a checkpoint that was written with another reward.

    Raises:
        pydantic.ValidationError: a key is unknown, a value is outside its range, or two keys
            contradict each other.

    Example:
        >>> config = VLMRewardConfig(
        ...     encoder="ViT-B-32/random", goals=["a {red|blue} ball"], threshold=0.5
        ... )
        >>> config.goal_set.texts
        ('a red ball', 'a blue ball')
        >>> VLMRewardConfig.from_yaml(config.to_yaml()) == config
        True
        >>> VLMRewardConfig(encoder="small", goals=["a ball"], num_actors=2)
        Traceback (most recent call last):
        ...
        pydantic_core._pydantic_core.ValidationError: 1 validation error for VLMRewardConfig
          unknown key 'num_actors'. It belongs in vlm_reward.serving. ...
    """

    encoder: Annotated[str, Field(min_length=1), SERVED]
    goals: Annotated[tuple[str | GoalConfig, ...], Field(min_length=1)]
    templates: Annotated[tuple[TemplateConfig, ...], Field(min_length=1), EXPERT] = (
        TemplateConfig(),
    )
    negatives: tuple[str, ...] = ()
    num_negatives: Annotated[int, Field(ge=0)] | None = None
    negatives_seed: int = 0
    baseline: str | None = None
    evaluation_goals: Annotated[tuple[str | GoalConfig, ...], AGENT] = ()
    head: Annotated[
        Head, pydantic.PlainValidator(_make_head), pydantic.PlainSerializer(head_settings), EXPERT
    ] = Softmax()
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    calibration: Annotated[Calibration | TrustCalibration | None, AGENT] = None
    frames: Annotated[FrameConfig, EXPERT] = FrameConfig()
    mode: Annotated[Literal["synchronous", "deferred"], ELSEWHERE] = "deferred"
    early_end: Annotated[bool, RUN] = False
    normalize_rewards: bool = False
    env_reward_weight: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    bonus: BonusConfig | None = None
    hints: HintsConfig | None = None
    goal_source: Annotated[str, Field(pattern=r"^(info:.+|obs:.+)$")] = "info:goal"
    success_key: Annotated[str, AGENT] = "success"
    goal_embedding: Annotated[bool, RUN] = False
    goal_map: Annotated[bool | tuple[PositiveInt, PositiveInt], RUN] = False
    hindsight: Annotated[PositiveInt | None, ELSEWHERE] = None
    serving: Annotated[ServingConfig, SERVED] = ServingConfig()
    experts: Annotated[dict[str, dict[str, Any]], RUN] = Field(default_factory=dict)
    combine: Annotated[CombineRule, RUN] = "mean"
    agents: Annotated[dict[str | int, dict[str, Any] | None], ELSEWHERE] = Field(
        default_factory=dict
    )
    alarms: Annotated[Literal["warn", "error", "off"], ELSEWHERE] = "warn"
    stalled_seconds: Annotated[Positive, ELSEWHERE] = 300.0
    may_change: Annotated[bool, ELSEWHERE] = False

    @pydantic.model_validator(mode="before")
    @classmethod
    def _resolve_goals(cls, given: Any) -> Any:
        _refuse_search_space(given)
        return _with_encoder(inline_calibration(resolve_goals(given)))

    @pydantic.field_validator("encoder", mode="before")
    @classmethod
    def _encoder_name(cls, given: Any) -> Any:
        return import_path_of(given) if isinstance(given, type) else given

    @pydantic.field_validator("agents", mode="before")
    @classmethod
    def _as_yaml(cls, given: Any) -> Any:
        """Convert the agents' settings to types that YAML has."""
        if not isinstance(given, dict):
            return given
        converted = {}
        for agent, settings in given.items():
            if isinstance(agent, bool):  # pydantic would make it 0 or 1
                raise ValueError(
                    f"got the agent {agent}, a boolean, expected a name or a whole number. Put a "
                    "name that YAML reads as a boolean, such as yes or on, in quotes."
                )
            plain = inline_calibration(resolve_goals(settings))
            converted[agent] = _in_plain_types(plain, f"agent {agent!r}")
        return converted

    @pydantic.field_validator("experts", mode="before")
    @classmethod
    def _experts_as_yaml(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        if len(given) > _MOST_EXPERTS:
            raise ValueError(
                f"got {len(given)} experts, expected at most {_MOST_EXPERTS}. Leave out those that "
                "`rllib-vlm-reward evaluate` shows to be the worst."
            )
        for name, settings in given.items():
            if not isinstance(name, str) or not _EXPERT_NAME.fullmatch(name):
                raise ValueError(
                    f"got the expert {name!r}, expected a name of letters, digits, _ and -, since "
                    "pools and metrics are named after it. Rename it, or put it in quotes."
                )
            if not isinstance(settings, dict):
                raise ValueError(
                    f"expert {name!r}: got {excerpt(settings)}, expected a mapping of the keys "
                    f"that differ, such as {{encoder: small}}. The keys are {_expert_keys(cls)}."
                )
        return {
            name: _in_plain_types(settings, f"expert {name!r}") for name, settings in given.items()
        }

    @pydantic.model_validator(mode="after")
    def _check(self) -> "VLMRewardConfig":
        self._check_calibration()
        nothings = (template.nothing for template in self.templates)
        for text in (*self.negatives, self.baseline, *nothings, *self._nothing):
            if text is not None and _CHOICE.search(text):
                raise ValueError(
                    f"got {text!r}, which CLIP would read as it is, since choices expand only in "
                    "goals. Give each statement in full."
                )
        if self.early_end and self.mode == "deferred":
            raise ValueError(
                "early_end needs the reward before the next step, but mode is 'deferred', which "
                "reads it when the fragment ends. Set mode: synchronous, or early_end: false."
            )
        if self.early_end and self.threshold_in_force is None:
            raise ValueError(
                "early_end ends an episode when the reward is 1, but there is no threshold, so "
                "the reward is a score. Set threshold (the paper's β), or early_end: false."
            )
        if self.early_end and self.frames.scored_steps == "last":
            raise ValueError(
                "early_end ends an episode before its last step, but frames.scored_steps is "
                "'last', so no earlier step is scored. Set early_end: false, or another "
                "frames.scored_steps."
            )
        if self.goal_map and self.mode == "deferred":
            raise ValueError(
                "goal_map: the policy needs the map of a frame before it acts, but mode is "
                "'deferred', which reads answers when the fragment ends. Set mode: synchronous, or "
                "goal_map: false."
            )
        for key in ("bonus", "goal_map"):
            if getattr(self, key):
                self._check_nouns(key)
        if self.hints is not None:
            self._check_hints(self.hints)
        if self.hindsight is not None:
            self._check_hindsight()
        for agent in self.agents:
            self.for_agent(agent)  # raises an error if the agent's settings are invalid
        if self.experts:
            self._check_experts()
        else:
            self._check_head()
        return self

    def _check_calibration(self) -> None:
        if self.calibration is None:
            return
        if isinstance(self.calibration, TrustCalibration):
            experts = {
                name: (
                    self.by_expert[name].head,
                    self.by_expert[name].frames.source,
                    self.by_expert[name].goal_set,
                )
                for name in self.experts
            }
            self.calibration.check(
                threshold=self.threshold, window=self.frames.window, experts=experts
            )
            self.combiner  # noqa: B018  raises an error if it lacks a goal
            return
        if self.experts:
            raise ValueError(
                "calibration: it was made with one encoder, but the reward has the experts "
                f"{[*self.experts]}. Set calibration: null, and calibrate again."
            )
        self.calibration.check(
            threshold=self.threshold,
            frame_source=self.frames.source,
            window=self.frames.window,
            goals=self.goal_set,
        )

    def _check_head(self) -> None:
        if self.combine != "mean":
            raise ValueError(
                f"combine: got {self.combine!r} without experts, whose scores it would combine. "
                "Add `experts`, or remove `combine`."
            )
        head, goals = self.head_in_force, self.goal_set
        for goal in goals.goals if head.needs_negatives else ():
            if not goal.negatives:
                raise ValueError(
                    f"goal {goal.text!r} has no negatives, so its probability is 1 for every "
                    "frame. Add another goal of its template, `negatives`, or the template's "
                    "`nothing`; or choose another head."
                )
        for where, (low, high) in _narrowest(goals, head).items():
            if self.threshold is not None:
                _check_threshold("threshold", self.threshold, head, low, high, where)
            calibrated = None if self.calibration is None else self.calibration.threshold.value
            if calibrated is not None and not low <= calibrated < high:
                raise ValueError(
                    f"calibration: got the threshold {calibrated:g}, expected {low:g} or more and "
                    f"less than {high:g}, the range of the head {head_summary(head)!r}{where}. "
                    "Calibrate again, or set calibration: null."
                )
        if head.needs_baseline and any(goal.baseline is None for goal in goals.goals):
            raise ValueError(
                f"head {head_summary(head)!r} needs a baseline for every goal. Set `baseline` to a "
                "description of the state before success."
            )

    def _check_hints(self, hints: HintsConfig) -> None:
        if self.experts:
            raise ValueError(
                "hints: got hints together with experts, expected one of them, since a single "
                "encoder says which hints hold in a frame. Remove `hints`, or `experts`."
            )
        if self.frames.scored_steps != "all":
            raise ValueError(
                f"hints: got frames.scored_steps {self.frames.scored_steps!r}, expected 'all', "
                "since a hint is paid in the first frame where it holds. Remove "
                "frames.scored_steps, or hints."
            )
        threshold, found, head = self.hint_threshold, self.hint_set, self.head_in_force
        assert found is not None
        if threshold is None:
            raise ValueError(
                "hints: a hint holds where its score exceeds a threshold, but there is none. Set "
                "hints.threshold, which leaves the goals' reward as it is, or threshold."
            )
        for goal in found.goals.goals:
            if head.needs_negatives and not goal.negatives:
                raise ValueError(
                    f"hints: the statement {goal.prompt!r} has no negatives, so its probability is "
                    "1 for every frame. Write {statement: ..., nothing: ...} with what holds if it "
                    "does not; or add `negatives`, or choose another head."
                )
            if head.needs_baseline and goal.baseline is None:
                raise ValueError(
                    f"hints: the head {head_summary(head)!r} needs a baseline for the statement "
                    f"{goal.prompt!r} too, expected the key `baseline`, which all goals and "
                    "hints share. Set it, or choose another head."
                )
        for where, (low, high) in _narrowest(found.goals, head).items():
            _check_threshold("hints.threshold", threshold, head, low, high, where)

    def _check_experts(self) -> None:
        if self.bonus is not None:
            raise ValueError(
                "bonus: got a bonus together with experts, expected one of them, since the bonus "
                "reads the patches of a single encoder. Remove `bonus`, or `experts`."
            )
        if self.goal_map:
            raise ValueError(
                "goal_map: got a map together with experts, expected one of them, since the map is "
                "read from the patches of a single encoder. Set goal_map: false, or remove "
                "`experts`."
            )
        if self.frames.scored_steps == "changed" and len(self.sources) > 1:
            raise ValueError(
                f"frames.scored_steps: got 'changed' with experts that see other frames, "
                f"{[*self.sources]}, expected one frame source, since a step repeats its score if "
                "its frame stays the same. Set scored_steps: all, or one frames.source."
            )
        seen: dict[Any, str] = {}
        for name, each in self.by_expert.items():
            same = each.encoder, each.frames.source, each.scorer.fingerprint
            if same in seen:
                raise ValueError(
                    f"experts: {seen[same]!r} and {name!r} have the same encoder, head, frames "
                    "and templates, so one of them adds nothing. Remove it, or change one."
                )
            seen[same] = name
        if self.calibration is None:
            self._check_rule()

    def _check_rule(self) -> None:
        """Check that scores may be combined, and compared with a threshold, as they are."""
        if self.threshold is not None:
            raise ValueError(
                f"threshold: got {self.threshold:g} with experts and without a calibration, but "
                f"nobody knows what a threshold on the {self.combine} of their scores means. "
                "Choose it with `rllib-vlm-reward calibrate`, which also finds whom to trust, and "
                "set calibration: FILE; or remove the threshold to make the score the reward."
            )
        heads = {name: each.head_in_force for name, each in self.by_expert.items()}
        are_probabilities = [head.is_probability for head in heads.values()]
        if self.combine == "noisy_or" and not all(are_probabilities):
            name = [*heads][are_probabilities.index(False)]
            raise ValueError(
                f"combine: got 'noisy_or', but the head {head_summary(heads[name])!r} of expert "
                f"{name!r} gives no probability. Set combine: mean, another head, or a calibration."
            )
        ranges = {head.range for head in heads.values()}
        if not all(are_probabilities) and len(ranges) > 1:
            summaries = {name: head_summary(head) for name, head in heads.items()}
            raise ValueError(
                f"combine: got the heads {summaries}, whose scores lie on different scales, so "
                f"their {self.combine} would mean nothing. Give all experts the same head, or set "
                "a calibration, which standardises them."
            )

    def _check_nouns(self, key: str) -> None:
        """Check what is read from the patches of every frame: a bonus, or a map."""
        if self.frames.scored_steps != "all":
            raise ValueError(
                f"{key}: got frames.scored_steps {self.frames.scored_steps!r}, expected 'all', "
                f"since every frame is needed. Remove frames.scored_steps, or {key}."
            )
        for goal in self.goal_set.goals:
            if goal.noun is None:
                raise ValueError(
                    f"{key}: goal {goal.text!r} has no noun, so nobody knows what to look for. Add "
                    "`noun` to its template, as in {goal: 'pick up the {}', prompt: 'the agent is "
                    "carrying the {}', noun: 'a {}'}, or to the goal in full."
                )
            if goal.noun in self._nothing:
                raise ValueError(
                    f"{key}: got {goal.noun!r} both in `nothing` and as the noun of the goal "
                    f"{goal.text!r}, expected other words. Write another noun, or change "
                    "bonus.nothing."
                )

    def _check_hindsight(self) -> None:
        for key, reason in _NOT_WITH_HINDSIGHT.items():
            if getattr(self, key):
                raise ValueError(
                    f"hindsight: got it together with {key}, expected one of them, {reason}. "
                    f"Remove hindsight, or {key}."
                )
        if self.threshold_in_force is None:
            raise ValueError(
                "hindsight: an episode is copied for a goal whose score exceeds the threshold, but "
                "there is none. Set threshold (the paper's β), or remove hindsight."
            )
        if self.goal_source.startswith("obs:"):
            raise ValueError(
                f"hindsight: got goal_source {self.goal_source!r}, expected info:KEY, since a copy "
                "would still show the goal of its episode there. Let the env name the goal in its "
                "info, or remove hindsight."
            )
        if self.frames.scored_steps != "all" or self.frames.window != 1:
            raise ValueError(
                f"hindsight: got frames.scored_steps {self.frames.scored_steps!r} and "
                f"frames.window {self.frames.window}, expected 'all' and 1, since each frame says "
                "by itself which goals hold. Remove these keys, or hindsight."
            )
        if len({goal.prompt for goal in self.training_goals.goals}) < 2:
            raise ValueError(
                "hindsight: got goals with one prompt, expected at least two, since an episode is "
                "copied for another goal. Add goals, or remove hindsight."
            )

    @property
    def _nothing(self) -> tuple[str, ...]:
        return NOTHING if self.bonus is None else self.bonus.nothing

    @cached_property
    def training_goals(self) -> GoalSet:
        """The training goals; only these are drawn as negatives of training goals."""
        return self._draw(self.goals)

    @cached_property
    def goal_set(self) -> GoalSet:
        """All goals with their prompts and negatives, training goals first."""
        training = self.training_goals
        if not self.evaluation_goals:
            return training
        drawn = self._draw((*self.goals, *self.evaluation_goals))
        return GoalSet(training.goals + drawn.goals[len(training) :])

    def goal_of(self, text: str) -> Goal:
        """Return the goal of a text: one of ``goal_set``, or any that a template fits.

        Raises:
            GoalError: no template fits the text, or it is a pattern.

        Example:
            >>> config = VLMRewardConfig(
            ...     encoder="small",
            ...     goals=["lift the red {ball|box}"],
            ...     templates=[{"goal": "lift {}", "prompt": "the agent is carrying {}"}],
            ... )
            >>> config.goal_of("lift the blue key").prompt
            'the agent is carrying the blue key'
        """
        if text in self.goal_set.texts:
            return self.goal_set[self.goal_set.index(text)]
        if _CHOICE.search(text):
            raise GoalError(
                f"goal {text!r}: got a pattern, expected one goal, since CLIP would read it as it "
                "is. Write the goal in full."
            )
        return GoalSet.from_texts([text], templates=self.goal_templates)[0]

    @property
    def goal_templates(self) -> list[Template]:
        """The templates, which turn texts of goals into prompts."""
        return [Template(**template.model_dump()) for template in self.templates]

    @property
    def rewards(self) -> "tuple[VLMRewardConfig, ...]":
        """This reward, and those of the agents whose rewards differ."""
        rewards = (self, *self._of_agents.values())
        return tuple(reward for reward in rewards if reward is not None)

    @property
    def goal_sets(self) -> tuple[GoalSet, ...]:
        """The goal set of this reward, and those of the agents whose rewards differ."""
        return tuple(reward.goal_set for reward in self.rewards)

    @cached_property
    def head_in_force(self) -> Head:
        """The head that is used: ``head``, with a calibration's temperature if there is one."""
        return self.head if self.calibration is None else self.calibration.head_in_force(self.head)

    @property
    def threshold_in_force(self) -> float | None:
        """The β that is used: a calibration's threshold if there is one, else ``threshold``."""
        return self.threshold if self.calibration is None else self.calibration.threshold.value

    @cached_property
    def score_range(self) -> tuple[float, float]:
        """The lowest and highest score that a frame can have, whatever its goal.

        Example:
            >>> goals = ["a {red|blue} {ball|key}"]
            >>> VLMRewardConfig(encoder="small", goals=goals, head="dense").score_range
            (0.0, 0.75)
        """
        if self.experts:
            return self.combiner.range([each.score_range for each in self.by_expert.values()])
        numbers = {1 + len(goal.negatives) for goal in self.goal_set.goals}
        lows, highs = zip(*map(self.head_in_force.range_among, numbers), strict=True)
        return min(lows), max(highs)

    @cached_property
    def scorer(self) -> Scorer:
        """The goals, the head, and the readouts of a bonus, a map and hindsight; without hints.

        Example:
            >>> VLMRewardConfig(encoder="small", goals=["a ball"], head="cosine").scorer.head
            Cosine()
        """
        readouts: list[Readout] = []
        if self.bonus is not None:
            readouts.append(self.bonus.readout(self.goal_set, len(self.training_goals)))
        if self.map_readout is not None:
            readouts.append(self.map_readout)
        if self.holds is not None:
            readouts.append(self.holds)
        return Scorer(self.goal_set, self.head_in_force, readouts=tuple(readouts))

    @cached_property
    def map_readout(self) -> GoalMap | None:
        """The readout of the policy's map; None without ``goal_map``.

        Raises:
            CheckpointError, RewardError: see :func:`.patch_grid`.
        """
        if not self.goal_map:
            return None
        words = compared_words(self.goal_set, len(self.training_goals), self._nothing)
        return GoalMap(*words, self.map_size)

    @cached_property
    def holds(self) -> Holds | None:
        """The readout of which training goals hold in a frame; None without ``hindsight``.

        Of goals with the same prompt, such as paraphrases, only the first is looked for: they look
        the same to the policy.
        """
        if self.hindsight is None or self.threshold_in_force is None:
            return None
        first: dict[str, int] = {}
        for index, goal in enumerate(self.training_goals.goals):
            first.setdefault(goal.prompt, index)
        return Holds(tuple(first.values()), self.threshold_in_force, _MOST_HOLDING)

    @cached_property
    def hint_set(self) -> HintSet | None:
        """The hints of the training goals; None without ``hints``.

        Raises:
            GoalError: see :class:`.Hint` and :meth:`.HintSet.of`.
        """
        if self.hints is None:
            return None
        return HintSet.of(self.hints.hints, self.training_goals, **self._drawing)

    @property
    def hint_threshold(self) -> float | None:
        """What the score of a hint's statement must exceed; None without hints or any threshold."""
        if self.hints is None:
            return None
        own = self.hints.threshold
        return self.threshold_in_force if own is None else own

    @cached_property
    def scored_goals(self) -> GoalSet:
        """All goals, and after them the statements of the hints as goals."""
        if self.hint_set is None:
            return self.goal_set
        return GoalSet(self.goal_set.goals + self.hint_set.goals.goals)

    @cached_property
    def hint_scorer(self) -> Scorer:
        """The scorer of goals and hints: the statements of hints are further goals.

        A readout gives the scores of the hints of a frame's goal. Only for a reward with ``hints``.
        """
        assert self.hint_set is not None
        first, number = len(self.goal_set), len(self.scored_goals)
        own = tuple(tuple(place for _, place in each) for each in self.hint_set.of_goal)
        readout = HintScores(tuple(range(first, number)), own + ((),) * (number - len(own)))
        return dataclasses.replace(
            self.scorer, goals=self.scored_goals, readouts=(*self.scorer.readouts, readout)
        )

    @cached_property
    def map_size(self) -> tuple[int, int]:
        """The numbers of patches down and across, of the map if there is one.

        Raises:
            CheckpointError, RewardError: see :func:`.patch_grid`.
        """
        if not isinstance(self.goal_map, bool):
            return self.goal_map
        # Imported here, since settings are checked without torch.
        from rllib_vlm_reward.reward_model.encoder import patch_grid

        return patch_grid(self.encoder)

    @cached_property
    def by_expert(self) -> "dict[str, VLMRewardConfig]":
        """The rewards whose scores are combined: each expert's, without threshold and calibration.

        Without experts it is this reward, under an empty name.

        Example:
            >>> experts = {"large": {"encoder": "base"}, "small": {"encoder": "small"}}
            >>> config = VLMRewardConfig(goals=["a {red|blue} ball"], experts=experts)
            >>> {name: each.encoder for name, each in config.by_expert.items()}
            {'large': 'base', 'small': 'small'}
        """
        return {name: self._of_expert(name) for name in self.experts} or {"": self}

    @property
    def leading(self) -> "VLMRewardConfig":
        """The first expert's reward, whose encoder embeds goals for the policy."""
        return next(iter(self.by_expert.values()))

    def with_mean(self) -> "VLMRewardConfig | None":
        """Return the reward that is the mean of the experts' scores, to compare with.

        None if their heads have different scales, so that a mean has no meaning.
        """
        plain = {"calibration": None, "threshold": None, "early_end": False, "combine": "mean"}
        try:
            return self.model_copy(update=plain)
        except pydantic.ValidationError:
            return None

    def expect_one_encoder(self, what: str) -> None:
        """Refuse a reward with experts where only one encoder is possible.

        Args:
            what: the command or setting, for the error message.

        Raises:
            RewardError: there are experts.
        """
        if self.experts:
            raise RewardError(
                f"{what}: got the experts {[*self.experts]}, expected a reward with one encoder. "
                "Write the keys of one expert in place of `experts` and `combine`."
            )

    def one_source(self, what: str) -> str:
        """Return the frame source of all experts, where only one picture of a step is kept.

        Args:
            what: the command, for the error message.

        Raises:
            RewardError: the experts see other frames.
        """
        if len(self.sources) > 1:
            raise RewardError(
                f"{what}: got experts that see other frames, {[*self.sources]}, expected one "
                "frames.source, since one picture of a step is kept. Set the same frames.source "
                "for all experts, or leave out those that see other frames."
            )
        return self.sources[0]

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """The frame sources of all experts, each once; the first is that of the leading expert."""
        return tuple(dict.fromkeys(each.frames.source for each in self.by_expert.values()))

    @property
    def encoders(self) -> list[tuple[str, str, tuple[GoalSet, ...]]]:
        """The encoder and precision of each expert, and what all agents score with it."""
        return [
            (
                each.encoder,
                each.serving.precision,
                tuple(reward.by_expert[name].scored_goals for reward in self.rewards),
            )
            for name, each in self.by_expert.items()
        ]

    @cached_property
    def combiner(self) -> Combiner:
        """How the scores of the experts become one."""
        if isinstance(self.calibration, TrustCalibration):
            return self.calibration.combiner(self.goal_set, [*self.experts])
        return Rule(self.combine)

    @property
    def gives_probability(self) -> bool:
        """Whether a score is the probability of success."""
        if isinstance(self.calibration, TrustCalibration):
            return True
        return all(each.head.is_probability for each in self.by_expert.values())

    @property
    def how(self) -> str:
        """How frames are scored, as text: the head's settings, or how experts are combined."""
        if isinstance(self.calibration, TrustCalibration):
            return f"calibrated combination of {', '.join(self.experts)}"
        if self.experts:
            return f"{self.combine} of {', '.join(self.experts)}"
        return str(head_summary(self.head_in_force))

    @cached_property
    def rater(self) -> Scorer | Panel:
        """What frames are sent with: a scorer, also of hints; with experts the panel of theirs."""
        if self.hint_set is not None:
            return self.hint_scorer
        if not self.experts:
            return self.scorer
        experts = [
            Expert(name, each.scorer, self.sources.index(each.frames.source))
            for name, each in self.by_expert.items()
        ]
        return Panel(tuple(experts), self.combiner)

    def _of_expert(self, name: str) -> "VLMRewardConfig":
        changes, fields = self.experts[name], type(self).model_fields
        for key, value in changes.items():
            if key in fields and not scope_of(fields[key]).by_expert:
                raise ValueError(
                    f"experts: got {key!r} for expert {name!r}, but it is the same for all experts "
                    f"of a reward. Set it at the same level as `experts`. An expert's keys are "
                    f"{_expert_keys(type(self))}."
                )
            group = fields[key].annotation if key in fields else None
            if not (isinstance(group, type) and issubclass(group, Section)):
                continue
            for inner in value if isinstance(value, dict) else ():
                field = group.model_fields.get(inner)
                if field is not None and not scope_of(field).by_expert:
                    raise ValueError(
                        f"experts: got {key}.{inner} for expert {name!r}, but it is the same for "
                        f"all experts of a reward. Set it in {group.place}."
                    )
        if "encoder" not in {*changes, *self.model_fields_set}:
            raise ValueError(f"experts: expert {name!r} has no encoder. Add `encoder` to it.")
        common = {"experts": {}, "agents": {}, "combine": "mean", "early_end": False}
        common |= {"threshold": None, "calibration": None, "bonus": None, "goal_map": False}
        common |= {"hints": None, "hindsight": None}
        try:
            return self.model_copy(update={**common, **changes})
        except pydantic.ValidationError as error:
            raise ValueError(f"experts: expert {name!r}: {messages(error)[0]}") from error

    def for_agent(self, agent: str | int | None) -> "VLMRewardConfig | None":
        """Return the reward of one agent of a multi-agent env; None if it keeps the env's reward.

        Example:
            >>> config = VLMRewardConfig(
            ...     encoder="small",
            ...     goals=["a {red|blue} ball"],
            ...     agents={"seeker": {"goals": ["a {red|blue} key"]}, "referee": None},
            ... )
            >>> config.for_agent("seeker").goal_set.texts
            ('a red key', 'a blue key')
            >>> config.for_agent("another").goal_set.texts
            ('a red ball', 'a blue ball')
        """
        return self if agent is None else self._of_agents.get(agent, self)

    @cached_property
    def _of_agents(self) -> "dict[str | int, VLMRewardConfig | None]":
        return {agent: self._of_agent(agent) for agent in self.agents}

    def _of_agent(self, agent: str | int) -> "VLMRewardConfig | None":
        changes = self.agents[agent]
        if changes is None:
            return None
        fields = type(self).model_fields
        for key in changes:
            if key in fields and not scope_of(fields[key]).by_agent:
                raise ValueError(
                    f"agents: got {key!r} for agent {agent!r}, but it is the same for all agents, "
                    "since they share one pool. Set it at the same level as `agents`."
                )
            setting = [name for name, keys in self.experts.items() if key in keys]
            if setting:
                raise ValueError(
                    f"agents: got {key!r} for agent {agent!r}, but the experts {setting} have a "
                    f"{key!r} of their own, which would replace it. Remove one of them."
                )
        if "goals" in changes:  # the evaluation goals belong to the other agents' goals
            changes = {"evaluation_goals": (), **changes}
        try:
            return self.model_copy(update={**changes, "agents": {}})
        except pydantic.ValidationError as error:
            raise ValueError(f"agents: agent {agent!r}: {messages(error)[0]}") from error

    def check_weights(self, weights: str, expert: str = "") -> None:
        """Check that the encoder has the weights of the calibrations in use, and log their caveats.

        Args:
            weights: SHA-256 of the encoder's weights.
            expert: the name of the expert with this encoder; empty without experts.

        Raises:
            LabelError: see :meth:`.Calibration.check_weights`.
        """
        calibrations: list[Calibration | TrustCalibration] = []
        for reward in self.rewards:
            calibration = reward.calibration
            if calibration is not None and calibration not in calibrations:
                calibrations.append(calibration)
        for calibration in calibrations:
            calibration.check_weights(weights, self.by_expert[expert].encoder, expert)
            if expert == next(iter(self.by_expert)):  # once
                calibration.warn()

    @cached_property
    def reward_settings(self) -> dict[str, Any]:
        """The settings that affect training rewards, in types that JSON has.

        A key of a group is written with the group, such as ``frames.window``. Head and threshold
        are those that are used.
        """
        settings = _reward_settings(self)
        settings |= {key: [*map(_of_rewards, settings[key])] for key in _GOAL_KEYS}
        settings["goal_map"] = bool(self.goal_map)  # its size is the encoder's
        for key in ("bonus", "goal_map", "hints"):
            if not getattr(self, key):  # as in checkpoints from before there were any
                del settings[key]
        settings |= {"head": head_summary(self.head_in_force), "threshold": self.threshold_in_force}
        if self.experts:
            for key in _OF_EXPERTS:
                del settings[key]
            settings["combine"] = _summary(self.combiner)
            settings["experts"] = {
                name: {key: each.reward_settings[key] for key in _OF_EXPERTS}
                for name, each in self.by_expert.items()
            }
        else:  # as in checkpoints from before there were experts
            del settings["experts"], settings["combine"]
        agents = {
            str(agent): config and config.reward_settings
            for agent, config in self._of_agents.items()
        }
        return {**settings, "agents": agents}

    def _draw(self, goals: tuple[str | GoalConfig, ...]) -> GoalSet:
        texts: list[str] = []
        for goal in goals:
            texts += expand_goals(goal) if isinstance(goal, str) else [goal.text]
        given = {goal.text: goal for goal in goals if isinstance(goal, GoalConfig)}
        prompts = {text: goal.prompt for text, goal in given.items() if goal.prompt is not None}
        drawn = GoalSet.from_texts(texts, prompts=prompts, **self._drawing)
        full = (given[g.text].complete(g) if g.text in given else g for g in drawn.goals)
        return GoalSet(tuple(full))

    @property
    def _drawing(self) -> dict[str, Any]:
        """What prompts and negatives are drawn by."""
        return {
            "templates": self.goal_templates,
            "negatives": self.negatives,
            "num_negatives": self.num_negatives,
            "baseline": self.baseline,
            "seed": self.negatives_seed,
        }

    def grow(self, goals: GoalSet, texts: Sequence[str]) -> GoalSet:
        """Return training goals with more goals, which have prompts and negatives like these.

        Args:
            goals: :attr:`training_goals`, or what this method returned.
            texts: texts of the new goals.

        Raises:
            GoalError: see :meth:`.GoalSet.grow`.

        Example:
            >>> config = VLMRewardConfig(
            ...     encoder="small", goals=["a {red|blue} ball"], evaluation_goals=["a grey ball"]
            ... )
            >>> config.grow(config.training_goals, ["a red key"])[2].negatives
            ('a red ball', 'a blue ball')
        """
        return goals.grow(texts, **self._drawing)

    @classmethod
    def from_yaml(cls, text: str) -> "VLMRewardConfig":
        """Read a configuration from YAML text.

        Raises:
            ConfigError: the text is not valid YAML.
            pydantic.ValidationError: see the class.
        """
        return cls.model_validate(parse_settings(text))

    def to_yaml(self) -> str:
        """Return the configuration as YAML text, without default values."""
        return dump_settings(self.model_dump(exclude_defaults=True))


def _with_encoder(given: Any) -> Any:
    """Return a reward's settings with the encoder of the first expert if they name none."""
    experts = given.get("experts") if isinstance(given, dict) else None
    if not isinstance(experts, dict) or not experts or "encoder" in given:
        return given
    first = next(iter(experts.values()))
    encoder = first.get("encoder") if isinstance(first, dict) else None
    return given if encoder is None else {**given, "encoder": encoder}


def _expert_keys(config: type[VLMRewardConfig]) -> list[str]:
    return [name for name, field in config.model_fields.items() if scope_of(field).by_expert]


def _summary(combiner: Combiner) -> str:
    """Return what a combination is, to compare it with that of a checkpoint."""
    return combiner.kind if isinstance(combiner, Rule) else digest_of(combiner)


def _in_plain_types(settings: Any, owner: str) -> Any:
    try:
        return json.loads(json.dumps(settings, default=_plain))
    except TypeError as error:  # such as a date as a key
        raise ValueError(
            f"{owner}: got keys of another type ({error}), expected texts. Put them in quotes."
        ) from error


def _refuse_search_space(given: Any, place: str = "") -> None:
    """Refuse a search space of Tune: the reward is built before Tune would draw its value."""
    for key, value in given.items() if isinstance(given, dict) else ():
        where = f"{place}{key}"
        is_space = type(value).__module__.startswith("ray.tune.search")  # tune is not imported here
        is_grid = isinstance(value, dict) and value.keys() == {"grid_search"}
        is_text = isinstance(value, str) and value.startswith("tune.")
        if is_space or is_grid or is_text:
            raise ValueError(
                f"{where}: got the search space {excerpt(value)}, expected a value. Search with "
                "search(space, output, ...): space is the mapping of a run's YAML, and its "
                f'"vlm_reward" may hold search spaces, such as {{"{key}": tune.choice([...])}}. '
                "See docs/tune.md."
            )
        _refuse_search_space(value, f"{where}.")


def _narrowest(goals: GoalSet, head: Head) -> dict[str, tuple[float, float]]:
    """Return the head's range, and that of a goal where it ends lowest; each with words for it."""
    ranges = {"": head.range}
    fewest = min(goals.goals, key=lambda goal: len(goal.negatives))
    among = head.range_among(1 + len(fewest.negatives))
    if among != head.range:
        statements = f"{1 + len(fewest.negatives)} statements of the goal {fewest.text!r}"
        ranges[f" among the {statements}"] = among
    return ranges


def _check_threshold(
    key: str, threshold: float, head: Head, low: float, high: float, where: str
) -> None:
    """Refuse a threshold that every score of the head exceeds, or none."""
    always = threshold < low or (head.is_probability and threshold <= low)
    if not always and threshold < high:
        return
    between = f"more than {low:g}" if head.is_probability else f"{low:g} or more"
    raise ValueError(
        f"{key}: got {threshold:g}, which {'every' if always else 'no'} score of the head "
        f"{head_summary(head)!r} exceeds{where}, expected {between} and less than {high:g}, its "
        "range. Correct it, or remove it to make the score the reward."
    )


def _reward_settings(section: Section, group: str = "") -> dict[str, Any]:
    """Return the fields of a section that affect rewards, in types that JSON has."""
    plain, settings = section.model_dump(mode="json"), dict[str, Any]()
    for name, field in type(section).model_fields.items():
        value = getattr(section, name)
        if not scope_of(field).rewards:
            continue
        if isinstance(value, Section):
            settings |= _reward_settings(value, f"{group}{name}.")
        else:
            settings[f"{group}{name}"] = plain[name]
    return settings


def _plain(value: Any) -> Any:
    """Convert a value of an agent's settings that YAML does not have."""
    if isinstance(value, Section):
        return value.model_dump(mode="json", exclude_unset=True)
    if isinstance(value, Head):
        return head_settings(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if callable(value):
        return path_of(value)
    raise ValueError(
        f"got {excerpt(value)}, expected values as in YAML, a head or a frame source. Correct it."
    )


def _of_rewards(given: str | dict[str, Any]) -> str | dict[str, Any]:
    """Remove fields that affect no reward; a goal with only a text left becomes that text."""
    if isinstance(given, str):
        return given
    kept = {key: value for key, value in given.items() if key not in CURRICULUM_FIELDS}
    if kept.get("noun") is None:  # as in checkpoints from before there were nouns
        kept.pop("noun", None)
    return kept["text"] if all(kept[key] is None for key in kept.keys() - {"text"}) else kept
