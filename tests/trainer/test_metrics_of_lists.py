import numpy as np
import pytest

from trainer.metrics import catalogue_coverage, gini, intra_list_diversity, mean_of_list, self_information


def test_coverage_is_the_share_of_the_catalogue_that_was_shown():
    np.testing.assert_array_equal(catalogue_coverage(np.array([[3, 0, 1, 0], [1, 1, 1, 1]])), [0.5, 1.0])


def test_gini_of_even_exposure_is_zero_and_of_one_item_nearly_one():
    assert gini(np.array([5, 5, 5, 5])) == 0
    # One of four items takes all: 1 - 1/4.
    assert gini(np.array([0, 9, 0, 0])) == 0.75
    # Sorted 1, 3: (1*(-1) + 3*1) / (2 * 4) = 1/4.
    assert gini(np.array([3, 1])) == 0.25
    assert np.isnan(gini(np.zeros(3)))


def test_self_information_counts_bits_of_the_share_of_past_events():
    # (7 + 1) / (28 + 4) = 1/4 -> 2 bits; never seen: 1/32 -> 5 bits.
    np.testing.assert_array_equal(self_information(np.array([7, 0]), np.array(28), 4), [2, 5])


def test_mean_of_a_list_leaves_out_what_is_not_there():
    lists = np.array([[4, 2, -1], [-1, -1, -1]])
    values = np.array([[2.0, 4.0, 99.0], [1.0, 1.0, 1.0]])
    np.testing.assert_array_equal(mean_of_list(values, lists), [3, np.nan])


# Item 0 is A, item 1 is A and B, item 2 is B and C, item 3 has no value.
MEMBERS = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1], [0, 0, 0]])


def test_diversity_is_the_mean_jaccard_distance_of_the_pairs():
    # d(0,1) = 1 - 1/2, d(0,2) = 1, d(1,2) = 1 - 1/3
    found = intra_list_diversity(np.array([[0, 1, 2], [0, 1, -1], [0, -1, -1]]), MEMBERS)
    np.testing.assert_allclose(found, [(1 / 2 + 1 + 2 / 3) / 3, 1 / 2, np.nan], rtol=1e-6)


def test_items_without_values_are_alike():
    assert intra_list_diversity(np.array([[3, 3]]), MEMBERS)[0] == 0
    assert intra_list_diversity(np.array([[0, 3]]), MEMBERS)[0] == 1


def test_diversity_by_vectors_is_one_minus_their_cosine():
    vectors = np.array([[2.0, 0.0], [0.0, 1.0], [3.0, 3.0]])
    found = intra_list_diversity(np.array([[0, 1], [0, 2]]), vectors, "cosine")
    np.testing.assert_allclose(found, [1, 1 - 2**-0.5], rtol=1e-6)


def test_unknown_distance_is_refused():
    with pytest.raises(ValueError, match="jaccard or cosine. Received: manhattan"):
        intra_list_diversity(np.array([[0, 1]]), MEMBERS, "manhattan")
