"""The parts of a run's time, with a clock that the tests move by hand."""

import pytest

from tasks.common.report.clock import Clock, Part, Times


class Hand:
    """A clock that stands until it is moved."""

    def __init__(self):
        self.at = 100.0

    def __call__(self):
        return self.at

    def move(self, seconds):
        self.at += seconds


@pytest.fixture
def hand():
    return Hand()


def taken(clock):
    """The seconds of each part that took any."""
    return {part: s for part, s in clock.times(images=0).seconds.items() if s}


def test_the_innermost_part_is_counted_and_what_began_goes_on_below(hand):
    clock = Clock(started=97.0, now=hand)
    hand.move(2)  # 5 s after the start
    clock.begin(Part.SETUP)
    hand.move(10)
    clock.begin(Part.REST)
    with clock.during(Part.VALIDATION):
        hand.move(20)
        with clock.during(Part.SCORING):
            hand.move(40)
        hand.move(80)
    hand.move(160)
    expected = {Part.IMPORTS: 5, Part.SETUP: 10, Part.VALIDATION: 100, Part.SCORING: 40}
    assert taken(clock) == {**expected, Part.REST: 160}
    assert clock.times(images=0).total == hand.at - 97


def test_a_new_base_is_not_counted_while_another_part_runs(hand):
    clock = Clock(now=hand)
    with clock.during(Part.TEST):
        hand.move(1)
        clock.begin(Part.REST)
        hand.move(2)
    hand.move(4)
    assert taken(clock) == {Part.TEST: 3, Part.REST: 4}


def test_after_an_error_the_part_outside_of_it_goes_on(hand):
    clock = Clock(now=hand)

    def fail():
        with clock.during(Part.TEST):
            clock.enter(Part.VALIDATION)
            clock.enter(Part.SCORING)
            hand.move(1)
            raise OSError("full")

    with pytest.raises(OSError, match="full"):
        fail()
    hand.move(2)
    assert taken(clock) == {Part.SCORING: 1, Part.IMPORTS: 2}


def test_a_clock_starts_when_it_is_made(hand):
    clock = Clock(now=hand)
    hand.move(3)
    assert taken(clock) == {Part.IMPORTS: 3}


def times(images=30, **seconds):
    named = {Part[name.upper()]: value for name, value in seconds.items()}
    return Times(seconds=dict.fromkeys(Part, 0.0) | named, images=images)


def test_the_record_adds_up_and_the_rate_is_that_of_loading_and_steps():
    record = times(imports=0.1, loading=2.0, steps=4.0, rest=0.2).record()
    assert record["seconds"] == 6.3 == pytest.approx(sum(record["seconds by part"].values()))
    assert record["seconds by part"].keys() == set(Part)
    assert record["images trained on"] == 30
    assert record["images a second"] == 5.0


def test_a_run_that_trained_on_nothing_has_no_rate():
    assert times(images=0, loading=1.0).rate is None
    assert times(images=3).rate is None
    assert times(images=0).record()["images a second"] is None


def test_the_table_has_the_share_of_what_takes_time_and_the_sum():
    assert times(imports=1.0, validation=2.96, rest=0.04).rows() == {
        "imports": ("1.0", "25%"),
        "validation": ("3.0", "74%"),
        "in all": ("4.0", "100%"),
    }
