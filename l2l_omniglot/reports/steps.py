"""What the inner steps of an evaluation say, in a sentence."""

from __future__ import annotations

from l2l_omniglot.meta.evaluation import Curve


def earlier_step(curve: Curve) -> str:
    """Says which earlier step is better than the last, by how much, and whether that is chance.

    Empty if none is. The step is the one with the highest accuracy; its lead is the mean difference
    within the same tasks, with its 95 % interval.
    """
    leads = curve.lead_per_step
    best = max(range(len(leads)), key=leads.__getitem__)
    lead, half = leads[best], curve.lead_ci95_per_step[best]
    if lead <= 0:
        return ""
    accuracy, last = curve.accuracy_per_step[best], curve.accuracy
    when = f"after step {best}" if best else "before any step"
    text = (
        f"the accuracy is highest {when}: {100 * accuracy:.2f} %, and {100 * last:.2f} % after the "
        f"last, step {len(leads) - 1}; within the same tasks that is {100 * lead:.2f} ± "
        f"{100 * half:.2f} points"
    )
    if lead <= half:
        return f"{text}, a difference within its interval."
    return f"{text}, beyond its interval: fewer steps may do better, which validation tasks decide."
