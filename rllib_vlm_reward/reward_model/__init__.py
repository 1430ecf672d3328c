"""Computes embeddings of frames and texts, and scores from them. Uses torch, but never Ray.

    frames uint8 [B, H, W, 3] ─ preprocess ─ encode [B, D] ─ head(images, bank, goals) ─ scores [B]

* :mod:`spec`: the string that names a CLIP;
* :mod:`frame_batches`: batches of frames from several requests, read without a copy;
* :mod:`preprocess`: open_clip's image transform, batched, on the device;
* :mod:`weights`: reads weights without running code, and loads all of them or none;
* :mod:`precision`: chooses a precision, and measures how much it changes scores;
* :mod:`patches`: what each patch of a frame shows, from the last block of a ViT;
* :mod:`tower`: a CLIP's image encoder in one precision;
* :mod:`encoder`: the base class of encoders, and how to load one by name;
* :mod:`tokens`: what a model reads of a text;
* :mod:`fetching`: what a CLIP needs beside its weights: network, package, tokenizer;
* :mod:`clip`: open_clip's models; no other module builds them;
* :mod:`cache`: keeps embeddings, so that no frame or text is encoded twice;
* :mod:`bank`: the embeddings of the goals' texts;
* :mod:`statement_sets`: what goals are compared with, once for all goals that share it;
* :mod:`heads`: compute scores from embeddings;
* :mod:`readouts`: what else a frame says, beside the score: its patches, or all goals' scores;
* :mod:`scorer`: goals, head and readouts together, and the step from score to reward;
* :mod:`combiner`: how the scores of several experts become one;
* :mod:`panel`: the scorers of several experts, and their combiner;
* :mod:`model`: joins all of these: frames and goals in, scores out;
* :mod:`batch_size`: finds a good batch size for a model and device.

Import from these modules. Only :mod:`clip`, :mod:`fetching`, :mod:`patches` and :mod:`tower` load
open_clip, which takes 200 MB and which an env runner does not need; :mod:`heads`, :mod:`readouts`,
:mod:`scorer`, :mod:`combiner` and :mod:`panel` do not import torch either.

Letters in shapes: B frames, D length of an embedding, G goals, K negatives of a goal,
N statements.
"""
