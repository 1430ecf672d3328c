"""What is a frame worth? Embeddings, and the heads that score them. torch; never Ray.

    frames uint8 [B, H, W, 3] ─ preprocess ─ encode [B, D] ─ head(images, bank, goals) ─ scores [B]

* :mod:`spec`: one string that names a CLIP;
* :mod:`frame_batches`: frames of several requests, read from where they lie;
* :mod:`preprocess`: open_clip's image transform, batched, on the device;
* :mod:`weights`: read without running code, loaded whole or not at all;
* :mod:`precision`: the best that the device has, and what it does to a score;
* :mod:`tower`: a CLIP's image half in one precision;
* :mod:`encoder`: what a model must offer, and how one is named;
* :mod:`clip`: open_clip's models, in the only module that knows open_clip;
* :mod:`cache`: embeddings by content, so that nothing is encoded twice;
* :mod:`bank`: the goals' texts, encoded once;
* :mod:`heads`: embeddings to scores;
* :mod:`scorer`: what frames are scored against, and what a score pays;
* :mod:`model`: all of it, behind one call;
* :mod:`batch_size`: the batch that suits the model.

Import from these modules: :mod:`clip` alone loads open_clip, 200 MB that an env runner can do
without; :mod:`heads` and :mod:`scorer` need no torch either.

Letters: B frames, D embedding length, G goals, K negatives of a goal, N statements.
"""
