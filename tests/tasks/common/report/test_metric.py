"""What the rows of a table of metrics say of the run: the best checkpoint, lines and curves."""

from tasks.common.report.metric import Metric, monitored, shown
from tasks.detection.scores.metrics import METRICS
from tasks.segmentation.scores.metrics import LOGGED


def test_the_first_metric_that_is_to_be_high_chooses_the_best_checkpoint():
    table = (Metric("error", abs, best="zero"), Metric("loss", abs, best="lowest"))
    assert monitored((*table, Metric("ap", abs), Metric("ar", abs))) == "val/ap"


def test_what_is_printed_after_an_epoch_comes_before_what_is_drawn_only():
    table = [Metric("a", abs, shown="curve"), Metric("b", abs), Metric("c", abs, shown="epoch")]
    assert shown(table) == ("val/c", "val/a")


def test_the_tables_of_both_tasks():
    assert (monitored(METRICS), monitored(LOGGED)) == ("val/ap", "val/dice")
    sizes = ("val/ap_small", "val/ap_medium", "val/ap_large")
    assert shown(METRICS) == ("val/ap", "val/ap50", "val/ap75", *sizes)
    assert shown(LOGGED) == ("val/dice", "val/miss_rate", "val/precision", "val/recall")
