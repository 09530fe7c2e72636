"""Every call of the CUDA layer once, by the package that is installed; test_real.py gives it a driver."""

import sys

import numpy as np
import pytest

from edgeprune.engine.trt.driver import Gpu, capture, first_gpu
from edgeprune.engine.trt.open_cuda import open_cuda

gpu = first_gpu()
assert isinstance(gpu, Gpu), gpu
assert (gpu.name, gpu.capability, gpu.memory_bytes, gpu.integrated) == ("Orin", "8.7", 8 << 30, True)
cuda = open_cuda()
one, other = (cuda.pinned((2, 3), np.dtype(np.float32)) for _ in range(2))
address, stream = cuda.allocate(one.nbytes), cuda.stream()
start, end = cuda.event(), cuda.event()

one[:], other[:] = 1, 0
cuda.record(start, stream)
cuda.copy_in(address, one, stream)
cuda.copy_out(other[:1], address, stream)
cuda.record(end, stream)
cuda.wait(stream)
assert other.tolist() == [[1, 1, 1], [0, 0, 0]]
assert cuda.elapsed_ms(start, end) >= 0


def copy() -> None:
    cuda.copy_in(address, one, stream)
    cuda.copy_out(other, address, stream)


def wait() -> None:
    cuda.wait(stream)


for record in (cuda.graph, lambda stream, work: capture(stream.handle, work)):
    other[:] = 0
    launch = record(stream, copy)
    assert not other.any()  # it is recorded and not done
    one[:] = 3
    launch()
    cuda.wait(stream)
    assert (other == 3).all()
    with pytest.raises(RuntimeError, match="800"):  # a stream that is recorded cannot be waited for
        record(stream, wait)
with cuda.current():
    cuda.copy_in(address, one, stream)
cuda.close()
sys.stdout.write(f"{cuda.package} {gpu.driver}\n")
