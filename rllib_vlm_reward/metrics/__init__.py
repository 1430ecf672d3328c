"""How well do scores tell success from failure? NumPy and SciPy alone.

* :mod:`precision_recall`: the curve over β, and its area;
* :mod:`fires`: what fires at one β, by episode;
* :mod:`ranking`: is a success scored above a failure, and nearer above farther?
* :mod:`reliability`: is p = 0.8 right in 80 %?
* :mod:`epic`: the distance of two rewards;
* :mod:`bootstrap`: how sure a figure is, by drawing the episodes again.

Letters: N frames, T thresholds. ``scores`` float ``[N]``; ``labels`` bool ``[N]``, true where a
frame shows its goal.
"""
