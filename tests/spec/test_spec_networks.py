"""What is the same for every kind of network."""

from adakern_spec.akm import AkmLayer, AkmShape, LayerFold, akm_block_size
from adakern_spec.network import REFERENCE, Fold
from adakern_spec.networks import block_size, folds_for_budget, result_fields
from adakern_spec.protocol import RESULT_FIELDS, fields_size

AKM = AkmShape(1, 8, (AkmLayer(4), AkmLayer(4)), 5)


def test_each_kind_has_its_own_block_result_and_folds() -> None:
    assert (block_size(REFERENCE), block_size(AKM)) == (1406, akm_block_size(AKM))
    assert result_fields(REFERENCE) == RESULT_FIELDS
    names = [field.name for field in result_fields(AKM)]
    assert names == ["job", "parameter_crc", "cycles", "stalls", *(f"logit_{n}" for n in range(5))]
    assert fields_size(result_fields(AKM)) == 16 + 4 * 5
    assert all(isinstance(fold, Fold) for fold in folds_for_budget(REFERENCE, 144))
    assert all(isinstance(fold, LayerFold) for fold in folds_for_budget(AKM, 144))
