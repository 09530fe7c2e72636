"""cuda-bindings' driver module: every call answers a tuple that begins with an error code."""

import enum
import functools

import fake_gpu


class CUresult(enum.IntEnum):
    CUDA_SUCCESS = 0
    CUDA_ERROR_UNKNOWN = 999


class CUstream_flags(enum.IntEnum):
    CU_STREAM_NON_BLOCKING = 1


class CUevent_flags(enum.IntEnum):
    CU_EVENT_DEFAULT = 0


class CUstreamCaptureMode(enum.Enum):
    CU_STREAM_CAPTURE_MODE_THREAD_LOCAL = 1


class CUstream(int):
    pass


def _answers(work):
    @functools.wraps(work)
    def call(*arguments):
        try:
            value = work(*arguments)
        except fake_gpu.CudaFault:
            return (CUresult.CUDA_ERROR_UNKNOWN, None)
        return (CUresult.CUDA_SUCCESS,) if value is None else (CUresult.CUDA_SUCCESS, value)

    return call


@_answers
def cuInit(flags):
    assert flags == 0


@_answers
def cuDeviceGet(index):
    return index


@_answers
def cuDevicePrimaryCtxRetain(device):
    return f"context of {device}"


@_answers
def cuCtxSetCurrent(context):
    assert context == "context of 0"


@_answers
def cuMemAlloc(count):
    return fake_gpu.memory(count)


@_answers
def cuMemFree(address):
    fake_gpu.free(address)


@_answers
def cuMemHostAlloc(count, flags):
    return fake_gpu.memory(count)


@_answers
def cuMemFreeHost(page):
    fake_gpu.free(page)


@_answers
def cuMemcpyHtoDAsync(address, host, count, stream):
    assert isinstance(stream, CUstream)
    fake_gpu.submit(stream, lambda: fake_gpu.copy(address, host, count))


@_answers
def cuMemcpyDtoHAsync(host, address, count, stream):
    assert isinstance(stream, CUstream)
    fake_gpu.submit(stream, lambda: fake_gpu.copy(host, address, count))


@_answers
def cuStreamCreate(flags):
    return CUstream(fake_gpu.new_stream())


@_answers
def cuStreamSynchronize(stream):
    fake_gpu.wait(stream)


@_answers
def cuEventCreate(flags):
    return {}


@_answers
def cuEventRecord(event, stream):
    fake_gpu.submit(stream, lambda: event.update(ms=fake_gpu.now_ms()))


@_answers
def cuEventElapsedTime(start, end):
    return end["ms"] - start["ms"]


@_answers
def cuStreamBeginCapture(stream, mode):
    assert isinstance(mode, CUstreamCaptureMode)
    fake_gpu.begin_capture(stream)


@_answers
def cuStreamEndCapture(stream):
    return fake_gpu.end_capture(stream)


@_answers
def cuGraphInstantiate(graph, flags):
    return graph


@_answers
def cuGraphLaunch(graph, stream):
    fake_gpu.launch(graph, stream)
