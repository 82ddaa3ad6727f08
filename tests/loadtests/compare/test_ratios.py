"""The arithmetic of the comparison: a ratio is taken within each pair, percentiles count weights."""

import pytest

from loadtests.compare.ratios import Ratio, median, ratio_of_pairs, shorten, weighted_percentiles


def test_ratio_is_the_median_of_the_pairs_not_the_ratio_of_the_medians():
    # The machine was twice as slow during the last pair, for both.
    ratio = ratio_of_pairs([30.0, 33.0, 15.0], [10.0, 10.0, 5.0])
    assert ratio == Ratio(median=3.0, smallest=3.0, largest=3.3, count=3)


def test_pairs_with_a_failed_sample_do_not_count():
    ratio = ratio_of_pairs([30.0, None, 20.0], [10.0, 10.0, None])
    assert ratio is not None
    assert (ratio.median, ratio.count) == (3.0, 1)
    assert ratio_of_pairs([None], [1.0]) is None
    assert ratio_of_pairs([1.0], [0.0]) is None


def test_different_numbers_of_samples_are_an_error():
    with pytest.raises(ValueError):
        ratio_of_pairs([1.0], [1.0, 2.0])


def test_median_of_what_is_there():
    assert median([None, 3.0, 1.0]) == 2.0
    assert median([None]) is None


def test_weighted_percentiles_equal_those_of_the_written_out_list():
    pairs = [(5.0, 1), (1.0, 90), (2.0, 9)]
    assert weighted_percentiles(pairs, [0.5, 0.9, 0.99, 0.999, 1.0]) == [1.0, 1.0, 2.0, 5.0, 5.0]


@pytest.mark.parametrize(
    ("value", "text"),
    [(12_345_678, "12.3M"), (1234.4, "1234"), (45_600, "45.6k"), (999_999, "1000k"), (0.0123, "0.0123"),
     (3.14159, "3.14"), (2.5e9, "2.5G")],
)  # fmt: skip
def test_numbers_are_shortened_for_reading(value, text):
    assert shorten(value) == text
