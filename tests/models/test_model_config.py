import pytest
from pydantic import ValidationError

from models.config import ModelConfig, RunningCondition


def test_a_running_condition_needs_a_bound() -> None:
    with pytest.raises(ValidationError, match="channel 'speed' needs 'above', 'below' or both"):
        RunningCondition(channel="speed")


def test_an_unknown_option_is_refused() -> None:
    with pytest.raises(ValidationError, match="epoch\n  Extra inputs are not permitted"):
        ModelConfig.model_validate({"epoch": 3})


def test_a_single_fold_is_refused() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 2"):
        ModelConfig(folds=1)
