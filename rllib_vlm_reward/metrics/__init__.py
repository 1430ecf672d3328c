"""Metrics of how well scores separate success from failure, with NumPy and SciPy only.

* :mod:`metric`: the interface of a metric, and the table of the built-in metrics;
* :mod:`precision_recall`: the precision-recall curve over β, and its area;
* :mod:`fires`: counts the frames that score above one β, by episode;
* :mod:`ranking`: the AUROC and the rank correlation;
* :mod:`reliability`: the reliability diagram of scores that are probabilities;
* :mod:`epic`: the distance between two rewards;
* :mod:`checks`: what all of them expect of their arrays;
* :mod:`bootstrap`: confidence intervals from resampled episodes.

In all functions N is the number of frames and T the number of thresholds. ``scores`` is float
``[N]``. ``labels`` is bool ``[N]``, true for a frame that shows its goal.
"""
