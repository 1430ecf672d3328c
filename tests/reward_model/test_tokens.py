"""What a tokenizer makes of the texts of a goal, found before any weights are read."""

import time
from pathlib import Path

import numpy as np
import pytest

from rllib_vlm_reward.config import VLMRewardConfig
from rllib_vlm_reward.envs.babyai.captions import STATEMENTS
from rllib_vlm_reward.errors import GoalError
from rllib_vlm_reward.goals import Goal, GoalSet, Template, wordings
from rllib_vlm_reward.reward_model import clip
from rllib_vlm_reward.reward_model.clip import CLIPEncoder
from rllib_vlm_reward.reward_model.encoder import Encoder, check_encoder
from rllib_vlm_reward.reward_model.heads import Softmax
from rllib_vlm_reward.reward_model.model import RewardModel
from rllib_vlm_reward.reward_model.scorer import Scorer
from rllib_vlm_reward.reward_model.spec import Spec
from rllib_vlm_reward.reward_model.tokens import check_distinct
from rllib_vlm_reward.run import Experiment
from rllib_vlm_reward.settings import read_settings, shipped_configs
from rllib_vlm_reward.warnings import warn_once

CASES = Path(__file__).parents[1] / "cases" / "yaml"
PROMPT = "a red ball"
TWINS = [
    "a Red ball",
    "a  red ball",
    " a red ball ",
    "a red\nball",
    "a \uff52\uff45\uff44 ball",  # full width, which ftfy normalises
    "a red\u00a0ball",
]
WAYS_OUT = (
    "Use the words of its model card, ",
    "an open_clip model such as ViT-B-32/laion2b_s34b_b79k, ",
    "or a CLIP of your own.",
)


@pytest.fixture
def no_weights(monkeypatch):
    def load(*args, **kwargs):
        raise AssertionError("the weights were loaded")

    monkeypatch.setattr(clip, "read_weights", load)
    monkeypatch.setattr(clip, "_build", load)


@pytest.fixture(autouse=True)
def nothing_was_warned_yet():
    warn_once.cache_clear()


@pytest.mark.parametrize("twin", TWINS)
@pytest.mark.parametrize("place", ["negative", "baseline"])
def test_a_twin_of_the_prompt_is_refused_before_the_weights(no_weights, place, twin):
    given = {"negatives": (twin,)} if place == "negative" else {"baseline": twin}
    goals = GoalSet((Goal("fetch it", PROMPT, **given),))
    with pytest.raises(GoalError) as caught:
        check_encoder("small", goals=[goals])
    for part in ("goal 'fetch it'", f"prompt {PROMPT!r}", f"{place} {twin!r}", "case", "spaces"):
        assert part in str(caught.value)


def test_two_goals_that_are_read_alike_are_refused(no_weights):
    goals = GoalSet.from_texts(["a blue key", "a Blue key", "a red ball"])
    with pytest.raises(GoalError, match="prompt 'a blue key' and its negative 'a Blue key'"):
        check_encoder("base", goals=[goals])


def test_a_negative_that_counts_twice_is_refused(no_weights):
    goals = GoalSet.from_texts([PROMPT], negatives=["an empty room", "an  EMPTY room"])
    with pytest.raises(GoalError, match="negative 'an empty room' and its negative 'an  EMPTY"):
        check_encoder("base", goals=[goals])


def lower(goals):
    return [text.lower() for text in goals.statements]


def test_equal_tokens_of_other_groups_cost_no_more_time():
    """Texts of two templates may be read alike; comparing each goal's negatives took N² time."""
    numbers = range(10_000)
    templates = [Template("a {}", "see {}"), Template("b {}", "See {}")]
    goals = GoalSet.from_texts(
        [f"{kind} {number}" for kind in "ab" for number in numbers], templates=templates
    )
    began = time.process_time()
    check_distinct(goals, lower(goals), "own")
    assert time.process_time() - began < 2.0
    twin = [*templates, Template("c {}", "SEE {}", nothing="see 7")]
    goals = GoalSet.from_texts([*goals.texts, "c 6", "c 7"], templates=twin)
    with pytest.raises(GoalError, match=r"goal 'c 6': .*negative 'SEE 7' and its negative 'see 7'"):
        check_distinct(goals, lower(goals), "own")


def test_a_prompt_past_the_context_is_refused_before_the_weights(no_weights):
    goals = GoalSet.from_texts([PROMPT, "the ball and " * 6])
    # 18 words, and the tokens of start and end.
    with pytest.raises(GoalError, match=r"text 'the ball and .*20 tokens, .*only the first 16"):
        check_encoder("base", goals=[goals])
    check_encoder("ViT-B-32-quickgelu/openai", goals=[goals])  # reads 77


@pytest.mark.parametrize(
    ("case", "parts"),
    [
        (
            "past_the_context",
            ("text 'in the small room with the grey ", "it has 26 tokens", "only the first 16"),
        ),
        (
            "negatives_twin",
            (
                "goal 'pick up the red ball'",
                "its prompt 'the agent is carrying a red ball'",
                "its negative 'The agent is carrying a Red ball'",
            ),
        ),
    ],
)
def test_a_case_is_refused_before_the_weights(no_weights, case, parts):
    reward = Experiment.from_file(CASES / f"{case}.yaml").vlm_reward
    with pytest.raises(GoalError) as caught:
        check_encoder(reward.encoder, goals=reward.goal_sets)
    for part in parts:
        assert part in str(caught.value)


def test_goals_that_differ_pass_even_if_others_share_a_prompt(no_weights):
    goals = (
        Goal("pick up a ball", "holding a ball", ("nothing",), baseline="nothing"),
        Goal("fetch a ball", "Holding a ball", ("nothing",)),  # a paraphrase: pays the same
        Goal("pick up a key", "holding a key", ("holding a ball", "nothing")),
    )
    check_encoder("small", goals=[GoalSet(goals)])


def test_models_share_a_tokenizer_only_if_it_reads_the_same_number_of_tokens(tiny_clip):
    def made(spec):
        return clip._tokenizer(clip._look_up(spec))

    assert made("small") is made("base") is made(tiny_clip)
    longer = made("ViT-B-32-quickgelu/openai")
    assert (made("small").context_length, longer.context_length) == (16, 77)


def test_a_tokenizer_from_the_network_is_left_to_the_actors(no_weights, monkeypatch):
    monkeypatch.setattr(clip.open_clip, "get_tokenizer", lambda name: pytest.fail("asked"))
    twins = GoalSet.from_texts([PROMPT, "a Red ball"])
    for spec in ("ViT-B-16-SigLIP/webli", "roberta-ViT-B-32/laion2b_s12b_b32k", "hf-hub:a/b"):
        clip.check_clip_goals(spec, twins)


def test_the_text_bank_refuses_twins_too(tiny_clip):
    model = RewardModel(CLIPEncoder.load(tiny_clip, precision="fp32"))
    goals = GoalSet.from_texts([PROMPT, "a Red ball"])
    frame, goal = np.zeros((1, 8, 8, 3), np.uint8), np.array([0])
    with pytest.raises(GoalError, match="as the same tokens"):
        model.score(frame, goal, Scorer(goals, Softmax()))
    embeddings = model.embed_texts(goals.statements)
    with pytest.raises(GoalError, match="as the same tokens"):
        model.admit(goals, embeddings)


def test_an_encoder_of_ones_own_says_what_it_reads():
    class Careless(Encoder):
        embed_dim, fingerprint = 2, "careless"

        def token_ids(self, texts):
            return [frozenset(text.split()) for text in texts]

    goals = GoalSet.from_texts(["ball left of key", "key left of ball"])
    with pytest.raises(GoalError, match="encoder 'Careless' reads its prompt 'ball left of key'"):
        RewardModel(Careless()).admit(goals, np.eye(2, dtype=np.float32))
    check_distinct(goals, Encoder().token_ids(goals.statements), "Encoder")


def test_words_that_the_clip_was_never_taught_are_a_warning(no_weights, caplog):
    reward = Experiment.from_file(CASES / "foreign_words.yaml").vlm_reward
    goals = GoalSet.from_texts(
        ["a red ball", "move the Square to the left edge"], negatives=["the agent is lost"]
    )
    for _ in range(2):
        check_encoder("base", goals=[goals])
        check_encoder(reward.encoder, goals=reward.goal_sets)
    for record, unknown, first in zip(
        caplog.records,
        (["edge", "left", "lost", "move", "square"], ["edge", "left", "move", "right", "square"]),
        ("move the Square to the left edge", "move the square to the left edge"),
        strict=True,
    ):
        for part in ("encoder 'base'", f"the words {unknown} ", f"{first!r}", *WAYS_OUT):
            assert part in record.getMessage()


def test_a_warning_about_many_words_names_ten(no_weights, caplog):
    check_encoder("base", goals=[GoalSet.from_texts([f"go to room {i}" for i in range(2000)])])
    (record,) = caplog.records
    assert "'1005'] and 1,992 more (as in 'go to room 0')" in record.getMessage()
    assert len(record.getMessage()) < 500


def test_a_statement_that_the_clip_was_never_taught_is_a_warning(no_weights, caplog):
    taught = ["the agent is carrying a red ball", "The agent is  carrying the blue key"]
    check_encoder("base", goals=[GoalSet.from_texts(taught)])
    assert not caplog.records
    check_encoder("base", goals=[GoalSet.from_texts([*taught, "a red ball", "a blue key"])])
    (record,) = caplog.records
    for part in (
        "'base' knows the words of 'a red ball' (and of 1 more)",
        "'the agent is facing a red ball'",
    ):
        assert part in record.getMessage()


@pytest.mark.parametrize(
    ("changes", "warns"),
    [
        ({}, False),
        ({"settings": {"held_out_things": ["red ball"]}}, True),
        ({"statements": {"lift": ["the agent holds a red ball"]}}, True),
        # Fine-tuned: it may know more than it was taught last.
        ({"statements": {"lift": ["the agent holds a red ball"]}, "encoder": "small"}, False),
    ],
)
def test_what_the_last_training_named_was_taught(no_weights, caplog, monkeypatch, changes, warns):
    metrics = clip._metrics(Spec.parse("small"))
    assert metrics["encoder"] == "small/random"
    monkeypatch.setattr(clip, "_metrics", lambda spec: {**metrics, **changes})
    check_encoder("small", goals=[GoalSet.from_texts(["the agent is carrying a red ball"])])
    assert bool(caplog.records) == warns


@pytest.mark.parametrize("spec", ["base", "small"])
def test_the_words_of_the_envs_are_known(no_weights, caplog, spec):
    for statements in STATEMENTS.all.values():
        texts = [wordings(statement)[0] for statement in sorted(statements)]
        check_encoder(spec, goals=[GoalSet.from_texts(texts, num_negatives=0)])
    check_encoder("small/random", goals=[GoalSet.from_texts(["anything goes"])])
    check_encoder("ViT-B-32/laion2b_s34b_b79k", goals=[GoalSet.from_texts(["anything goes"])])
    assert not caplog.records


@pytest.mark.parametrize("name", shipped_configs())
def test_no_shipped_run_is_warned(name, caplog):
    settings = read_settings(shipped_configs()[name])
    reward = VLMRewardConfig.model_validate(settings["vlm_reward"])
    check_encoder(reward.encoder, goals=reward.goal_sets)
    assert not caplog.records


def test_the_agents_goals_are_checked_too():
    config = VLMRewardConfig(
        encoder="small",
        goals=["a {red|blue} ball"],
        agents={"seeker": {"goals": ["a key", "a Key"]}, "referee": None},
    )
    assert [len(goals) for goals in config.goal_sets] == [2, 2]
    check_encoder(config.encoder, goals=config.goal_sets[:1])
    with pytest.raises(GoalError, match="'a key' and its negative 'a Key'"):
        check_encoder(config.encoder, goals=config.goal_sets)
