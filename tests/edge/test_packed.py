import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra import numpy as hnp

from faultwatch_edge.errors import BundleError
from faultwatch_edge.packed import pack, unpack


@given(hnp.arrays(np.float32, hnp.array_shapes(min_dims=1, max_dims=3, min_side=0)))
def test_every_number_comes_back_as_it_was(values: np.ndarray) -> None:
    again = unpack(pack(values), np.float32, values.shape)
    assert again.dtype == np.float32
    np.testing.assert_array_equal(again.view(np.uint32), values.view(np.uint32))
    again[...] = 0  # it may be written to


@pytest.mark.parametrize("text", ["?", "AAAA", "AAAAA", "\xe4"])
def test_what_is_not_so_many_numbers_is_refused(text: str) -> None:
    with pytest.raises(BundleError, match="holds"):
        unpack(text, np.float64, (1,))
