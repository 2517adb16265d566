"""Scores of cases in a few numbers."""

import math

NAN = math.nan


def row(there, found, hits, **more):
    """What `case_scores` says of a class with so many pixels in truth, prediction and both."""
    both = there + found
    return {
        "dice": 2 * hits / both if both else NAN,
        "iou": hits / (both - hits) if both else NAN,
        "precision": (hits / found if found else 0.0) if both else NAN,
        "recall": hits / there if there else NAN,
        "truth_pixels": there,
        "predicted_pixels": found,
        "volume_error": found - there if both else NAN,
        "volume_error_abs": abs(found - there) if both else NAN,
        **more,
    }
