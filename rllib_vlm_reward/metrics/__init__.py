"""How well do scores tell success from failure? NumPy and SciPy alone.

* :mod:`metric`: what a metric is, and the table of the built-in ones;
* :mod:`precision_recall`: the curve over β, and its area;
* :mod:`fires`: the frames that score above one β, by episode;
* :mod:`ranking`: is a success scored above a failure, and a nearer frame above a farther one?
* :mod:`reliability`: are 80 % of the frames with p = 0.8 successes?
* :mod:`epic`: the distance of two rewards;
* :mod:`bootstrap`: intervals, by drawing the episodes again.

Letters: N frames, T thresholds. ``scores`` float ``[N]``; ``labels`` bool ``[N]``, true where a
frame shows its goal.
"""
