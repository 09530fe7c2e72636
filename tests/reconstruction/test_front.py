"""Parts, the store and the front, against the whole network."""

from __future__ import annotations

import torch
from torch import fx

from edgeprune.reconstruction.front import Front
from edgeprune.reconstruction.part import needed, part
from edgeprune.reconstruction.store import Store
from tests.reconstruction.nets import attending, block, reader

CPU = torch.device("cpu")


def _values(module: fx.GraphModule, x: torch.Tensor) -> dict[str, object]:
    whole = fx.Interpreter(module, garbage_collect_values=False)
    with torch.no_grad():
        whole.run(x)
    return {node.name: value for node, value in whole.env.items()}


def test_a_part_computes_what_the_whole_does_and_takes_a_weight_as_argument() -> None:
    traced, x = block()
    module, values = traced.module, _values(traced.module, x)
    start = reader(module, "a.weight")
    order = [node for node in module.graph.nodes if node.op not in ("get_attr", "output")]
    end = reader(module, "head.weight")
    nodes = needed([end], order[order.index(start) :])
    found = part(module, nodes, [end], ["a.weight"])
    assert set(found.inputs) <= set(values)
    weight = module.get_parameter("a.weight")
    (got,) = found([weight], [values[name] for name in found.inputs])
    torch.testing.assert_close(got, traced.module(x))
    (zero,) = found([torch.zeros_like(weight)], [values[name] for name in found.inputs])
    assert not torch.allclose(zero, got)


def test_a_part_follows_its_parameters() -> None:
    traced, x = block()
    end = reader(traced.module, "stem.weight")
    (node,) = [n for n in traced.module.graph.nodes if n.op == "placeholder"]
    found = part(traced.module, [end], [end])
    assert found.inputs == (node.name,)
    with torch.no_grad():
        traced.module.get_parameter("stem.weight").zero_()
        (got,) = found((), [x])
    bias = traced.module.get_parameter("stem.bias").view(1, -1, 1, 1)
    torch.testing.assert_close(got, bias.expand_as(got))


def test_what_does_not_fit_lies_on_disk_and_comes_back() -> None:
    store = Store(memory_mb=0.0001)  # 100 bytes
    small, large = {"a": torch.arange(4.0), "n": 3}, {"b": torch.arange(1000.0), "c": [torch.ones(2), torch.zeros(1)]}
    store.put("small", small)
    assert store.spilled == 0
    store.put("large", large)
    assert store.spilled == 4012
    assert store.get("small", CPU)["n"] == 3
    found = store.get("large", CPU)
    torch.testing.assert_close(found["b"], large["b"])
    torch.testing.assert_close(found["c"][0], torch.ones(2))
    store.drop("small")
    store.put("large", small)  # it fits now, and the file goes
    torch.testing.assert_close(store.get("large", CPU)["a"], small["a"])
    store.close()


def test_a_front_holds_what_is_still_read_and_no_more() -> None:
    for traced, x in (block(), attending()):
        for memory in (0.0, 100.0):
            store, module = Store(memory), traced.module
            front = Front("s", module, x.split(10), store, CPU)
            order = [node for node in module.graph.nodes if node.op not in ("get_attr", "output")]
            for number, place in enumerate(order[1:], start=1):
                front.advance(place)
                later = set(order[number:]) | {module.graph.output_node()}
                live = {node.name for node in order[:number] if not later.isdisjoint(node.users)}
                for batch, images in enumerate(x.split(10)):
                    held, values = front.read(batch), _values(module, images)
                    assert set(held) == live
                    for name, value in held.items():
                        torch.testing.assert_close(value, values[name])
            assert (store.spilled > 0) == (memory == 0.0)
            store.close()


def test_a_node_is_run_once_whatever_the_number_of_stops() -> None:
    traced, x = block()
    module = traced.module
    front = Front("s", module, [x], Store(100.0), CPU)
    front.advance(reader(module, "b.weight"))
    before = front.read(0)
    with torch.no_grad():
        module.get_parameter("a.weight").zero_()  # it has been passed
    front.advance(reader(module, "head.weight"))
    values = _values(block()[0].module, x)
    after = front.read(0)
    assert set(after) != set(before)
    for name, value in after.items():
        torch.testing.assert_close(value, values[name])
