"""A TensorRT that computes with ONNX Runtime and has the names of a real release, no more.

Every class and enum comes from `tensorrt_api.json`, which lists the members of the real bindings: what a release does
not have raises AttributeError here too. Types of arguments and the order of calls are checked where the real library
would refuse or crash. What is used is written to the file that FAKE_TENSORRT_USED names.
"""

import enum
import json
import os
import pickle
from pathlib import Path

import fake_gpu
import numpy as np

__version__ = os.environ.get("FAKE_TENSORRT", "10.16.1.11")
_API = json.loads((Path(__file__).parents[3] / "tensorrt_api.json").read_text(encoding="utf-8"))[__version__]
MAJOR, MINOR = (int(part) for part in __version__.split(".")[:2])
STRONG = (MAJOR, MINOR) >= (10, 12)
NEWEST_OPSET = 17 if MAJOR < 10 else 20
_used = os.environ.get("FAKE_TENSORRT_USED")


def _note(name):
    if _used:
        with open(_used, "a", encoding="utf-8") as stream:
            stream.write(f"{name}\n")


class _Noting(enum.EnumMeta):
    def __getattribute__(cls, name):
        if name in (type.__getattribute__(cls, "__dict__").get("_member_map_") or {}):
            _note(f"{cls.__name__}.{name}")
        return super().__getattribute__(name)


class _Named(int, enum.Enum, metaclass=_Noting):
    pass


for _name, _members in _API["enums"].items():
    globals()[_name] = _Named(_name, _members)


class _Real:
    """Refuses every name that the release does not have."""

    def __getattribute__(self, name):
        _check(type(self), name)
        return super().__getattribute__(name)

    def __setattr__(self, name, value):
        _check(type(self), name)
        super().__setattr__(name, value)


def _check(kind, name):
    if name.startswith("_"):
        return
    base = next((base for base in kind.__mro__ if base.__name__ in _API["classes"]), None)
    assert base is not None, kind
    if name in _API["classes"][base.__name__]:
        _note(f"{base.__name__}.{name}")
    elif base is kind:
        raise AttributeError(f"'tensorrt.tensorrt.{base.__name__}' object has no attribute {name!r}")


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger(_Real):
    def __init__(self):
        _note("ILogger")
        self._ready = True

    def log(self, severity, msg):
        raise NotImplementedError


class IProfiler(_Real):
    def __init__(self):
        _note("IProfiler")
        self._ready = True


def _logger(logger):
    assert isinstance(logger, ILogger), "a logger is needed"
    assert logger._ready, "ILogger.__init__ was not called"
    return logger


if "IProgressMonitor" in _API["classes"]:

    class IProgressMonitor(_Real):
        def __init__(self):
            _note("IProgressMonitor")
            self._ready = True


def init_libnvinfer_plugins(logger, namespace):
    _note("init_libnvinfer_plugins")
    _logger(logger)
    assert namespace == ""
    return True


def _host(content):
    """In the place of IHostMemory, of which only the buffer protocol is used: Python classes have that from 3.12 on."""
    return memoryview(content)


class ITensor(_Real):
    def __init__(self, name, shape):
        self._name, self._shape = name, shape

    @property
    def name(self):
        return self._name

    @property
    def shape(self):
        return self._shape


class INetworkDefinition(_Real):
    def __init__(self, flags):
        self._flags, self._model = flags, None

    @property
    def num_inputs(self):
        return len(self._model.graph.input)

    def get_input(self, index):
        value = self._model.graph.input[index]
        return ITensor(value.name, [d.dim_value or -1 for d in value.type.tensor_type.shape.dim])


class ParserError(_Real):
    def __init__(self, text):
        self._text = text

    def desc(self):
        return self._text


class OnnxParser(_Real):
    def __init__(self, network, logger):
        _note("OnnxParser")
        assert isinstance(network, INetworkDefinition)
        self._network, self._errors = network, []
        _logger(logger)
        if MAJOR < 10:
            assert network._flags & (1 << int(NetworkDefinitionCreationFlag.EXPLICIT_BATCH)), "explicit batch is needed"

    def parse(self, model):
        import onnx

        assert isinstance(model, bytes)
        read = onnx.load_from_string(model)
        opset = next(entry.version for entry in read.opset_import if not entry.domain)
        assert MAJOR >= 10 or read.ir_version <= 8, "a newer format than TensorRT 8 knows"
        if opset > NEWEST_OPSET:
            self._errors.append(f"opset {opset} is not supported")
            return False
        zeros = {t.name: onnx.numpy_helper.to_array(t) for t in read.graph.initializer}
        for node in read.graph.node:
            if node.op_type == "QuantizeLinear" and len(node.input) > 2 and zeros[node.input[2]].dtype != np.int8:
                self._errors.append("TensorRT only supports symmetric quantization")
        written = {name for node in read.graph.node for name in node.output}
        for node in read.graph.node:
            if MAJOR < 10 and node.op_type == "DequantizeLinear" and node.input[0] not in written:
                self._errors.append("weights need a QuantizeLinear")
        # A strongly typed network refuses what does not agree in its types; so does ONNX's own strict inference.
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(read, check_type=True, strict_mode=True))
        self._network._model = read
        return not self._errors

    @property
    def num_errors(self):
        return len(self._errors)

    def get_error(self, index):
        return ParserError(self._errors[index])


class ITimingCache(_Real):
    def __init__(self, content):
        self._content = content

    def serialize(self):
        return _host(self._content)


class IOptimizationProfile(_Real):
    def __init__(self):
        self._shapes = {}

    def set_shape(self, name, low, best, high):
        assert all(isinstance(shape, tuple) for shape in (low, best, high))
        assert all(a <= b <= c for a, b, c in zip(low, best, high, strict=True))
        self._shapes[name] = (low, best, high)


class IBuilderConfig(_Real):
    def __init__(self):
        self._flags, self._profiles, self._cache, self._monitor, self._detail = set(), [], None, None, None

    def set_flag(self, flag):
        assert isinstance(flag, BuilderFlag)
        self._flags.add(flag.name)

    def set_memory_pool_limit(self, pool, size):
        assert isinstance(pool, MemoryPoolType)
        assert isinstance(size, int)

    def get_tactic_sources(self):
        return sum(1 << member for member in TacticSource.__members__.values())

    def set_tactic_sources(self, sources):
        assert isinstance(sources, int)
        left = {name for name, member in TacticSource.__members__.items() if sources & 1 << member}
        assert left == {"EDGE_MASK_CONVOLUTIONS", "JIT_CONVOLUTIONS"}, "those are TensorRT's own"

    def add_optimization_profile(self, profile):
        assert isinstance(profile, IOptimizationProfile)
        self._profiles.append(profile)
        return 0

    def create_timing_cache(self, content):
        assert isinstance(content, bytes)
        return ITimingCache(content)

    def set_timing_cache(self, cache, ignore_mismatch):
        assert isinstance(cache, ITimingCache)
        assert ignore_mismatch is False
        if cache._content and not cache._content.startswith(__version__.encode()):
            return False
        self._cache = cache
        return True

    def get_timing_cache(self):
        return self._cache

    @property
    def profiling_verbosity(self):
        return self._detail

    @profiling_verbosity.setter
    def profiling_verbosity(self, value):
        assert isinstance(value, ProfilingVerbosity)
        self._detail = value.name

    @property
    def progress_monitor(self):
        return self._monitor

    @progress_monitor.setter
    def progress_monitor(self, monitor):
        assert isinstance(monitor, IProgressMonitor)
        self._monitor = monitor


class Builder(_Real):
    def __init__(self, logger):
        _note("Builder")
        self._logger = _logger(logger)

    def create_network(self, flags):
        assert isinstance(flags, int)
        known = NetworkDefinitionCreationFlag.__members__
        assert flags < 1 << (1 + max((int(member) for member in known.values()), default=0))
        return INetworkDefinition(flags)

    def create_builder_config(self):
        return IBuilderConfig()

    def create_optimization_profile(self):
        return IOptimizationProfile()

    def build_serialized_network(self, network, config):
        graph, say = network._model.graph, self._logger.log
        if os.environ.get("FAKE_BUILD") == "fails":
            say(Severity.ERROR, "Could not find any implementation for node stem.0")
            say(Severity.ERROR, "Engine building failed")
            return None
        if os.environ.get("FAKE_BUILD") == "crashes":
            os.abort()
        quantized = any(node.op_type == "QuantizeLinear" for node in graph.node)
        strong = STRONG and (MAJOR > 10 or network._flags & (1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)))
        assert not (strong and config._flags & {"INT8", "FP16"}), "a strongly typed network takes no precision flags"
        assert strong or not quantized or "INT8" in config._flags, "quantizers without the INT8 flag"
        static = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in graph.input}
        dynamic = any(0 in shape for shape in static.values())
        assert len(config._profiles) == dynamic, "a profile where shapes vary, and there alone"
        shapes = config._profiles[0]._shapes if dynamic else {name: (s, s, s) for name, s in static.items()}
        assert set(shapes) == set(static)
        if config._monitor is not None:
            config._monitor.phase_start("Building engine", None, 2)
            config._monitor.phase_start("Tactics", "Building engine", 5)
            assert all(config._monitor.step_complete("Tactics", step) is True for step in range(5))
            config._monitor.phase_finish("Tactics")
            assert all(config._monitor.step_complete("Building engine", step) is True for step in range(2))
            config._monitor.phase_finish("Building engine")
        say(Severity.VERBOSE, "Searching kernels")
        if "SPARSE_WEIGHTS" in config._flags:
            layers = ", ".join(_engine_name(node) for node in graph.node if node.op_type == "Conv")
            say(Severity.INFO, f"(Sparsity) Layers eligible for sparse math: {layers}")
            say(Severity.INFO, "(Sparsity) TRT inference plan picked sparse implementation for layers: ")
        config._cache._content = __version__.encode() + b" kernels"
        content = {
            "version": __version__,
            "model": network._model.SerializeToString(),
            "stripped": "STRIP_PLAN" in config._flags,
            "compatible": "VERSION_COMPATIBLE" in config._flags,
            "shapes": shapes,
            "dynamic": dynamic,
            "detail": config._detail,
        }
        return _host(pickle.dumps(content))


def _engine_name(node):
    return f"{node.input[1]} + {node.name}" if node.op_type in ("Conv", "Gemm") else node.name


class Runtime(_Real):
    def __init__(self, logger):
        _note("Runtime")
        self._logger, self._code = _logger(logger), False

    @property
    def engine_host_code_allowed(self):
        return self._code

    @engine_host_code_allowed.setter
    def engine_host_code_allowed(self, allowed):
        self._code = allowed

    def deserialize_cuda_engine(self, plan):
        assert isinstance(plan, bytes)
        content = pickle.loads(plan)
        if content["version"] != __version__ or (content["compatible"] and not self._code):
            self._logger.log(Severity.ERROR, "The engine plan file is not compatible with this version of TensorRT")
            return None
        return ICudaEngine(content, self._logger)


class ICudaEngine(_Real):
    def __init__(self, content, logger):
        import onnx

        self._content, self._ready, self._logger = content, not content["stripped"], logger
        self._contexts = 0
        self._model = onnx.load_from_string(content["model"])
        graph = self._model.graph
        self._tensors = {graph.input[0].name: "INPUT", graph.output[0].name: "OUTPUT"}

    @property
    def num_io_tensors(self):
        return 2

    def get_tensor_name(self, index):
        return [*self._tensors][index]

    def get_tensor_mode(self, name):
        return TensorIOMode[self._tensors[name]]

    def get_tensor_dtype(self, name):
        return DataType["FLOAT"]

    def get_tensor_shape(self, name):
        values = (*self._model.graph.input, *self._model.graph.output)
        (value,) = [value for value in values if value.name == name]
        return [d.dim_value or -1 for d in value.type.tensor_type.shape.dim]

    def get_tensor_profile_shape(self, name, profile):
        assert profile == 0
        assert self._content["dynamic"], "a static engine has no profile"
        return [list(shape) for shape in self._content["shapes"][name]]

    def create_execution_context(self):
        assert self._ready, "the weights are missing"
        self._contexts += 1
        return IExecutionContext(self, MAJOR >= 10 or not self._content["dynamic"] or self._contexts == 1)

    def create_engine_inspector(self):
        return EngineInspector(self)


class EngineInspector(_Real):
    def __init__(self, engine):
        self._engine, self._context = engine, None

    @property
    def execution_context(self):
        return self._context

    @execution_context.setter
    def execution_context(self, context):
        assert isinstance(context, IExecutionContext)
        self._context = context

    def get_engine_information(self, form):
        assert form.name == "JSON"
        assert self._engine._content["detail"] == "DETAILED"
        layers = [_inspected(node) for node in self._engine._model.graph.node if node.op_type not in ("Constant",)]
        ends = [*self._engine._tensors]
        io = {"Bindings": ends} if MAJOR < 11 else {"I/O Tensors": [{"Name": name} for name in ends]}
        return json.dumps({"Layers": layers, **io})


def _inspected(node):
    words = {"Format/Datatype": "Row major Int8 format"} if MAJOR < 11 else {"Format": "Row major", "DataType": "Int8"}
    ends = [{"Name": node.output[0], "Location": "Device", "Dimensions": [1], **words}]
    layer = {"Name": _engine_name(node), "LayerType": "NoOp", "Inputs": ends, "Outputs": ends, "TacticValue": "0x0"}
    if node.op_type in ("Conv", "Gemm"):
        layer |= {
            "LayerType": "CaskConvolution",
            "ParameterType": "Convolution",
            "Weights": {"Type": "Int8", "Count": 1},
        }
    if node.op_type in ("QuantizeLinear", "Cast"):
        layer |= {"LayerType": "Reformat", "ParameterType": "Reformat", "Origin": "QDQ"}
    return layer | ({"Metadata": f"[ONNX Layer: {node.name}]"} if MAJOR >= 10 else {})


class IExecutionContext(_Real):
    def __init__(self, engine, profile):
        self._engine, self._addresses, self._shape, self._called, self._profiler = engine, {}, None, None, None
        self._profile = profile
        if not engine._content["dynamic"]:
            self._shape = tuple(engine._content["shapes"][next(iter(engine._tensors))][0])

    @property
    def profiler(self):
        return self._profiler

    @profiler.setter
    def profiler(self, profiler):
        assert profiler is None or isinstance(profiler, IProfiler)
        assert profiler is None or profiler._ready, "IProfiler.__init__ was not called"
        self._profiler = profiler

    def set_input_shape(self, name, shape):
        assert self._engine._tensors[name] == "INPUT"
        low, _, high = self._engine._content["shapes"][name]
        assert self._engine._content["dynamic"], "nothing to set"
        if not self._profile:
            self._engine._logger.log(Severity.ERROR, "Profile 0 has been chosen by another IExecutionContext")
            return False
        if len(shape) != len(low) or not all(a <= b <= c for a, b, c in zip(low, shape, high, strict=True)):
            return False
        self._shape = tuple(shape)
        return True

    def set_tensor_address(self, name, address):
        assert name in self._engine._tensors
        assert address in fake_gpu.buffers, "no device memory"
        self._addresses[name] = address
        return True

    def execute_async_v3(self, stream):
        assert isinstance(stream, int)
        assert self._shape is not None, "no input shape"
        assert set(self._addresses) == set(self._engine._tensors), "no address for a tensor"
        if stream in fake_gpu.captured:
            assert self._called == self._shape, "the first call with a shape allocates, which a graph cannot hold"
        if os.environ.get("FAKE_RUN") == "fails":
            self._engine._logger.log(Severity.ERROR, "Error Code 1: Cuda Runtime (out of memory)")
            return False
        self._called = shape = self._shape
        try:
            fake_gpu.submit(stream, lambda: self._compute(shape))
        except fake_gpu.CudaFault:
            return False
        return True

    def _compute(self, shape):
        entry, exit_ = self._addresses
        x = np.ctypeslib.as_array(fake_gpu.buffers[self._addresses[entry]]).view(np.uint8)
        count = int(np.prod(shape))
        images = np.frombuffer(x.tobytes(), np.float32, count).reshape(shape)
        y = np.ascontiguousarray(self._session().run([exit_], {entry: images})[0])
        assert y.dtype == np.float32
        if os.environ.get("FAKE_ANSWERS") == "wrong":
            y = np.zeros_like(y)
        fake_gpu.copy(self._addresses[exit_], y.ctypes.data, y.nbytes)
        if self._profiler is not None:
            for node in self._engine._model.graph.node:
                self._profiler.report_layer_time(_engine_name(node), 0.01)
            self._profiler.report_layer_time("Reformatting CopyNode of nobody", 0.02)

    def _session(self):
        import onnxruntime

        if not hasattr(self, "_loaded"):
            options = onnxruntime.SessionOptions()
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            options.log_severity_level = 3
            options.intra_op_num_threads = 1
            model = self._engine._model.SerializeToString()
            self._loaded = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        return self._loaded


class Refitter(_Real):
    def __init__(self, engine, logger):
        _note("Refitter")
        assert isinstance(engine, ICudaEngine)
        self._engine, self._given = engine, None
        _logger(logger)

    def get_missing_weights(self):
        return [] if self._given is not None else ["stem.0.weight"]

    def refit_cuda_engine(self):
        import onnx

        self._engine._ready = onnx.load_from_string(self._given) == self._engine._model
        return self._engine._ready


if "OnnxParserRefitter" in _API["classes"]:

    class OnnxParserRefitter(_Real):
        def __init__(self, refitter, logger):
            _note("OnnxParserRefitter")
            assert isinstance(refitter, Refitter)
            self._refitter = refitter
            _logger(logger)

        def refit_from_bytes(self, model):
            assert isinstance(model, bytes)
            self._refitter._given = model
            return True

        @property
        def num_errors(self):
            return 0
