"""The model card: the data that a checkpoint was trained on, and the scores that it reaches."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rllib_vlm_reward.files import write_text
from rllib_vlm_reward.reward_model.spec import LAYOUT, shipped_names

__all__ = ["write_card"]

SHOWN = 6
"""How many statements of a family the card lists."""

CARD = """# {name}: a CLIP for frames of {world}

This CLIP says which of these statements hold in a frame of {world}, {width} × {height} pixels.
{{a|b}} is a in one wording and b in another. {words}

{statements}

{templates}| | |
|---|---|
| vision tower, parameters | {vision:,} |
| text tower, parameters | {text:,} |
| vision tower, FLOPs a frame | {flops:,} |
| longest text | {context_length} tokens, of which 2 mark start and end; a longer text is an error |
| temperature | {temperature:.4f} (logit_scale {logit_scale:.1f}) |
| weights, SHA-256 | `{fingerprint}` |

## Training

    {command}

Data: {data} Training uses the {distinct_frames:,} distinct ones, and draws frames with rare
statements more often. Loss: {loss}. Time: {train_seconds} seconds.

{settings}

{note}## Held-out scores

The scores are those on {held_out_frames:,} frames of episodes that training never saw. Still,
{overlap:.1%} of these frames also occur in training, pixel by pixel. Every frame is scored against
every goal, in the first and in the last wording of the statement. The score is the paper's
probability (arXiv 2312.09187, equation 1) at the model's temperature: a goal against all other
statements of its family. Precision and recall are at β = 0.5. In brackets: the 95 % interval over
episodes, by a bootstrap. Where no error was seen, the interval extends to three episodes with an
error. Another seed of the training changes the scores too, which the intervals do not contain.

{scores}

{unseen}"false, per 1,000": how often, in 1,000 frames, any of these goals fires wrongly. An agent
has one goal, so it meets a fraction of that. "true" and "false": 95 % of the true goals'
probabilities lie above the first, 99.9 % of the false goals' probabilities lie below the second.

If several goals of a family hold in a frame, they share the probability, and none passes β = 0.5;
the table leaves such frames out, and frames of which a statement is unclear. Use all other goals of
the family as the negatives of a goal. With few negatives, all statements may be false; then a goal
that resembles what is there gets a high probability.

{patches}## Licence

{licence}
"""

WORDS = {
    True: "It learnt only these statements, and knows no other words.",
    False: "It was trained on other texts before.",
}

LICENCE = {
    True: """Apache-2.0, as the code. The weights were trained from random values, on the frames
named above; no other model's weights are in them. Texts are split into tokens by open_clip, whose
tokenizer comes with open_clip under the MIT licence.""",
    False: """That of the model that was fine-tuned, `{encoder}`, as far as it binds what is made
of it.""",
}

OURS = """Apache-2.0, as the code. It was fine-tuned from `{encoder}`, which ships with this
package and has the same licence, on the frames named above."""

LOSS = {
    False: """cross entropy of each statement that holds against all statements of
its family that do not""",
    True: """cross entropy of the word for what a patch shows against
all words, the same for patches that show nothing, and 10 times one minus the cosine of a frame's
embedding with that before the training. The text tower is not trained""",
}

PATCHES = """## Where things are

A patch is compared with these words, which say what it shows: {words}. In the first
row, a thing's patches are compared with the other patches of the same frame; in the second, frames
that show a thing with frames that do not, each by its highest patch.

| AUROC on the held-out frames | `{encoder}` | {name} |
|---|---|---|
| the patches of a thing | {before_patch:.4f} | {after_patch:.4f} |
| frames that show a thing | {before_present:.4f} | {after_present:.4f} |

The mean cosine of a frame's embedding with that of `{encoder}` is {cosine:.4f}.

"""

TEMPLATES = """Use it with these templates:

```yaml
vlm_reward:
  encoder: {name}
  templates:
{rows}
```

"""

TABLE = """| family | frames | average precision | precision | recall | false, per 1,000 | true \
| false |
|---|---|---|---|---|---|---|---|
{rows}"""

_WITH_INTERVAL = {"average_precision": 4, "precision": 4, "recall": 4, "false_per_1000": 2}
"""Digits after the point, by score."""

UNSEEN = """The same scores for goals that name a thing which training did not name
({things}):

{table}

"""


def write_card(folder: Path, metrics: Mapping[str, Any]) -> None:
    """Write ``model_card.md`` from the content of ``metrics.json``, beside the configuration."""
    config = json.loads((folder / LAYOUT[0]).read_text())
    settings, encoder = metrics["settings"], metrics["encoder"]
    unseen = settings.get("held_out_things", ())
    is_new = encoder.endswith("/random")
    name = folder.resolve().name
    height, width = metrics["frame_size"]
    unseen_scores = UNSEEN.format(
        things=", ".join(unseen), table=_table(metrics["held_out_things"])
    )
    card = CARD.format(
        name=name,
        world=metrics["source"]["name"],
        height=height,
        width=width,
        words=WORDS[is_new],
        statements="\n".join(_statements(metrics)),
        templates=_templates(name, metrics["templates"]),
        **metrics["parameters"],
        flops=metrics["flops_per_frame"],
        context_length=config["model_cfg"]["text_cfg"].get("context_length", 77),
        temperature=1 / metrics["logit_scale"],
        logit_scale=metrics["logit_scale"],
        fingerprint=metrics["fingerprint"],
        command=_command(metrics),
        data=metrics["source"]["data"],
        distinct_frames=metrics["distinct_frames"],
        train_seconds=metrics["train_seconds"],
        loss=LOSS[bool(settings.get("patches"))],
        settings=", ".join(
            f"{key} {value}"
            for key, value in settings.items()
            if value not in (None, [], ()) and not isinstance(value, bool)
        ),
        held_out_frames=max(score["all_frames"] for score in metrics["held_out"].values()),
        overlap=metrics["held_out_frames_in_training"],
        scores=_table(metrics["held_out"]),
        patches=_patches(name, metrics) if "patches" in metrics else "",
        unseen=unseen_scores if unseen else "",
        note=f"{metrics['note']}\n\n" if "note" in metrics else "",
        licence=(OURS if encoder in shipped_names() else LICENCE[is_new]).format(encoder=encoder),
    )
    write_text(folder / "model_card.md", card)


def _command(metrics: Mapping[str, Any]) -> str:
    settings = metrics["settings"]
    words = [f"rllib-vlm-reward train-clip {metrics['encoder']} {metrics['source']['options']}"]
    words.append("--output DIR")
    for option, key in OPTIONS.items():
        if settings.get(key) is not None:
            words.append(f"--{option} {settings[key]}")
    words += ["--patches"] if settings.get("patches") else []
    words += [f'--held-out "{thing}"' for thing in settings.get("held_out_things", ())]
    return " ".join(words)


def _patches(name: str, metrics: Mapping[str, Any]) -> str:
    found = metrics["patches"]
    before, after = found["before"], found["scores"]
    return PATCHES.format(
        words=", ".join(f'"{word}"' for word in found["words"]),
        name=name,
        encoder=metrics["encoder"],
        cosine=found["cosine"],
        before_patch=before["patch_auroc"],
        after_patch=after["patch_auroc"],
        before_present=before["present_auroc"],
        after_present=after["present_auroc"],
    )


OPTIONS = {
    "frames": "num_frames",
    "held-out-frames": "held_out_frames",
    "steps": "steps",
    "batch-size": "batch_size",
    "learning-rate": "learning_rate",
    "seed": "seed",
}
"""The options of ``train-clip`` and the settings that they set."""


def _templates(name: str, templates: Mapping[str, Mapping[str, Any]]) -> str:
    rows = "\n".join(f"    - {json.dumps(template)}" for template in templates.values())
    return TEMPLATES.format(name=name, rows=rows) if templates else ""


def _statements(metrics: Mapping[str, Any]) -> list[str]:
    """Return a line for each statement, of large families for some."""
    lines = []
    for family, every in metrics["statements"].items():
        lines += [f'- {family}: "{text}"' for text in every[:SHOWN]]
        rest = len(every) - SHOWN
        if rest > 0:
            lines.append(f"- {family}: and {rest} more, which `metrics.json` lists")
    return lines


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
