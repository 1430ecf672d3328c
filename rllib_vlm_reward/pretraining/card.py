"""The model card: the data that a checkpoint was trained on, and the scores that it reaches."""

import json
from pathlib import Path
from typing import Any

from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.pretraining.statements import FAMILIES
from rllib_vlm_reward.reward_model.spec import LAYOUT

__all__ = ["write_card"]

CARD = """# {name}: a small CLIP for BabyAI frames

This CLIP recognises what the agent faces and carries, and which objects lie side by side, in a
frame of one BabyAI room: an egocentric view of 7 × 7 tiles, 56 × 56 pixels, as
`rllib_vlm_reward.envs` draws it. There are 18 objects: ball, box and key in six colours. The CLIP
learnt only these statements, and knows no other words:

{statements}

| | |
|---|---|
| vision tower, parameters | {vision:,} |
| text tower, parameters | {text:,} |
| vision tower, FLOPs a frame | {flops:,} |
| longest text | {context_length} tokens, of which 2 mark start and end; a longer text is an error |
| temperature | {temperature:.4f} (logit_scale {logit_scale:.1f}) |
| weights, SHA-256 | `{fingerprint}` |

## Training

    rllib-vlm-reward train-clip {architecture} --output DIR{options}

Data: {num_frames:,} frames of random play that picks up and drops often, and of BabyAI's bot, in
rooms of 5 to 8 tiles with 2 to 8 objects. Training uses the {distinct_frames:,} distinct ones, and
draws frames with rare statements more often. Which statements hold is read from the env's state.
Loss: cross entropy of each statement that holds against all statements of its family that do not.
Time: {train_seconds} seconds on a CPU.

{settings}

## Held-out scores

The scores are those on {held_out_frames:,} frames of the same play, in layouts that training never
saw. Still, {overlap:.1%} of these frames also occur in training: an agent in a corner sees the
same in many layouts. Every frame is scored against every goal, once with "a" and once with "the".
The score is the paper's probability (arXiv 2312.09187, equation 1) at the model's temperature: a
goal against the other 17 objects (152 pairs) and the family's "nothing". Precision and recall are
at β = 0.5. In brackets: the 95 % interval over episodes, by a bootstrap. Where no error was seen,
the interval extends to three episodes with an error. Another seed of the training changes the
scores too, which the intervals do not contain.

{scores}

{unseen}"false, per 1,000": how often, in 1,000 frames, any of these goals fires wrongly. An agent
has one goal, so it meets a fraction of that. "true" and "false": 95 % of the true goals'
probabilities lie above the first, 99.9 % of the false goals' probabilities lie below the second.

If two pairs touch in one frame, they share the probability, and neither passes β = 0.5; the table
leaves such frames out. Use all other pairs as the negatives of a pair. With few negatives, all
statements may be false; then a pair that shares an object with a touching pair gets a high
probability.

## Licence

Apache-2.0, as the code. The weights were trained from random values by this project, on frames that
it renders; no other model's weights are in them. Texts are split into tokens by open_clip, whose
tokenizer comes with open_clip under the MIT licence.
"""


TABLE = """| family | frames | average precision | precision | recall | false, per 1,000 | true \
| false |
|---|---|---|---|---|---|---|---|
{rows}"""

_WITH_INTERVAL = {"average_precision": 4, "precision": 4, "recall": 4, "false_per_1000": 2}
"""Digits after the point, by score."""

UNSEEN = """The same scores for goals that name a thing which training neither showed nor named,
although it showed the thing's colour and kind ({things}):

{table}

"""


def write_card(folder: Path, metrics: dict[str, Any]) -> None:
    """Write ``model_card.md`` from the content of ``metrics.json``, beside the configuration."""
    config = json.loads((folder / LAYOUT[0]).read_text())
    unseen = metrics["settings"]["held_out_things"]
    unseen_scores = UNSEEN.format(
        things=", ".join(unseen), table=_table(metrics["held_out_things"])
    )
    card = CARD.format(
        name=metrics["architecture"].removesuffix(f"/{LAYOUT[0]}").rpartition("/")[2],
        architecture=metrics["architecture"],
        statements="\n".join(f"- {statement}" for statement in _statements()),
        **metrics["parameters"],
        context_length=config["model_cfg"]["text_cfg"]["context_length"],
        temperature=1 / metrics["logit_scale"],
        logit_scale=metrics["logit_scale"],
        fingerprint=metrics["fingerprint"],
        num_frames=metrics["settings"]["num_frames"],
        distinct_frames=metrics["distinct_frames"],
        train_seconds=metrics["train_seconds"],
        settings=", ".join(
            f"{key} {value}"
            for key, value in metrics["settings"].items()
            if key != "held_out_things" or value
        ),
        options="".join(f' --held-out "{thing}"' for thing in unseen),
        held_out_frames=metrics["settings"]["held_out_frames"],
        overlap=metrics["held_out_frames_in_training"],
        scores=_table(metrics["held_out"]),
        unseen=unseen_scores if unseen else "",
        flops=metrics["flops_per_frame"],
    )
    write_text(folder / "model_card.md", card)


def _table(scores: dict[str, dict[str, Any]]) -> str:
    rows = []
    for family, score in scores.items():
        cells = [family, f"{score['frames']:,}"]
        for name, digits in _WITH_INTERVAL.items():
            low, high = score["intervals"][name]
            cells.append(f"{score[name]:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})")
        cells += [f"{score[name]:.3f}" for name in ("true_p05", "false_p999")]
        rows.append(f"| {' | '.join(cells)} |")
    return TABLE.format(rows="\n".join(rows))


def _statements() -> list[str]:
    return [
        f'"{text}"'
        for family in FAMILIES.values()
        for text in (
            family.template.prompt.replace("{}", "{a|the} COLOUR KIND"),
            family.template.nothing,
        )
    ]
