import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from edgeprune.errors import EdgepruneError
from edgeprune.model.weights import load_weights, read_weights


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def copy(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in state.items()}


def test_safetensors_round_trip(tmp_path: Path) -> None:
    trained, fresh = net(), net()
    save_file(trained.state_dict(), tmp_path / "w.safetensors")
    load_weights(fresh, tmp_path / "w.safetensors", "net")
    assert torch.equal(fresh[0].weight, trained[0].weight)


@pytest.mark.parametrize("wrapper", [None, "state_dict", "model", "model_state_dict", "net"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_checkpoints_are_unwrapped(tmp_path: Path, wrapper: str | None, prefix: str) -> None:
    trained, fresh = net(), net()
    state = {prefix + name: value for name, value in trained.state_dict().items()}
    torch.save({wrapper: state, "epoch": 3} if wrapper else state, tmp_path / "w.pth")
    load_weights(fresh, tmp_path / "w.pth", "net")
    assert torch.equal(fresh[0].weight, trained[0].weight)


def test_missing_batch_counter_is_tolerated(tmp_path: Path) -> None:
    state = {k: v for k, v in net().state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, tmp_path / "w.safetensors")
    fresh = net()
    load_weights(fresh, tmp_path / "w.safetensors", "net")
    assert torch.equal(fresh[0].weight, state["0.weight"])


def _misfit(tmp_path: Path, state: dict[str, torch.Tensor]) -> str:
    save_file(state, tmp_path / "w.safetensors")
    fresh = net()
    before = copy(fresh.state_dict())
    with pytest.raises(EdgepruneError) as raised:
        load_weights(fresh, tmp_path / "w.safetensors", "tiny")
    assert all(torch.equal(before[k], v) for k, v in fresh.state_dict().items()), "half-filled"
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_names_the_first_mismatch(tmp_path: Path) -> None:
    state = copy(net().state_dict())
    missing = {("old." + k if k == "0.bias" else k): v for k, v in state.items()}
    assert "does not fit tiny: 0.bias is missing (the file has old.0.bias)" in _misfit(tmp_path, missing)
    assert "0.weight is 5x3, not 4x3" in _misfit(tmp_path, {**state, "0.weight": torch.zeros(5, 3)})
    assert "head.weight is unexpected" in _misfit(tmp_path, {**state, "head.weight": torch.zeros(1)})
    assert "0.bias holds NaN" in _misfit(tmp_path, {**state, "0.bias": torch.full((4,), torch.nan)})


class Harmful:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('ran')",))


def test_pickle_that_needs_code_is_refused(tmp_path: Path) -> None:
    torch.save(net(), tmp_path / "module.pth")
    with pytest.raises(EdgepruneError, match=r"refused, since it needs .*Sequential.*state_dict\(\)"):
        read_weights(tmp_path / "module.pth")
    torch.save({"state_dict": net().state_dict(), "x": Harmful()}, tmp_path / "harm.pth")
    with pytest.raises(EdgepruneError, match="refused"):
        read_weights(tmp_path / "harm.pth")
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(EdgepruneError, match="refused"):
        read_weights(tmp_path / "plain.pkl")


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(EdgepruneError, match="no such file"):
        read_weights(tmp_path / "none.pth")
    for name in ("w.safetensors", "w.pth"):
        (tmp_path / name).write_bytes(b"not weights")
        with pytest.raises(EdgepruneError, match=r"not a readable|refused"):
            read_weights(tmp_path / name)
    torch.save({"epoch": 3}, tmp_path / "meta.pth")
    with pytest.raises(EdgepruneError, match="'epoch' is int, not a tensor"):
        read_weights(tmp_path / "meta.pth")
