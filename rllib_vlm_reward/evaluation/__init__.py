"""How good is the reward? Labelled frames, and what a reward says of them.

* :mod:`labelled`: frames with their goals and the truth, as Parquet;
* :mod:`judged`: those frames as one reward scores them;
* :mod:`recognition`: is one goal told from another?
* :mod:`figures`: the figures, in all, by family and by goal, with intervals;
* :mod:`verdict`: is the reward worth a run?
* :mod:`evaluate`: rewards side by side;
* :mod:`pictures`, :mod:`mistakes`, :mod:`report`, :mod:`save`: what of it is seen and kept.
"""
