// TensorRT 8.5 to 11: only what all of them have (tensors by name, enqueueV3). It runs plans and builds none: a plan is
// made on the device, by `edgeprune build` or build_engine.sh.
#include <NvInfer.h>
#include <cuda_runtime_api.h>

#include <algorithm>

#include "runtime.hpp"
#include "sha256.hpp"

#if NV_TENSORRT_MAJOR < 8 || (NV_TENSORRT_MAJOR == 8 && NV_TENSORRT_MINOR < 5)
#error "TensorRT 8.5 or later is needed: earlier ones do not know tensors by name."
#endif

namespace edgeprune {
namespace {

constexpr std::uintmax_t most_plan_bytes = std::uintmax_t{16} << 30;

void check(cudaError_t status, const char* what) {
    if (status != cudaSuccess) throw Error(std::string("CUDA: ") + what + " failed (" + cudaGetErrorString(status) + ").");
}

std::string version() {
    return std::to_string(NV_TENSORRT_MAJOR) + "." + std::to_string(NV_TENSORRT_MINOR) + "." + std::to_string(NV_TENSORRT_PATCH);
}

// Keeps the last fault for the message of our own.
class Logger : public nvinfer1::ILogger {
public:
    void log(Severity severity, const nvinfer1::AsciiChar* message) noexcept override try {
        if (severity <= Severity::kERROR) last_ = message;
    } catch (...) {
    }

    std::string last() const { return last_.empty() ? "it says no more" : last_; }

private:
    std::string last_;
};

// Memory of the device for one tensor.
class Buffer {
public:
    explicit Buffer(std::size_t values) : bytes_(values * sizeof(float)) {
        check(cudaMalloc(&data_, bytes_), "allocating memory");
    }
    ~Buffer() { cudaFree(data_); }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;

    void* data() const { return data_; }

private:
    std::size_t bytes_;
    void* data_ = nullptr;
};

class Stream {
public:
    Stream() { check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
    ~Stream() { cudaStreamDestroy(stream_); }
    Stream(const Stream&) = delete;
    Stream& operator=(const Stream&) = delete;

    cudaStream_t get() const { return stream_; }

private:
    cudaStream_t stream_ = nullptr;
};

// A plan holds native code: its bytes are compared with a sum before TensorRT sees them.
Bytes checked_plan(const Options& options) {
    if (options.plan.empty())
        throw Error("no plan is given for a bundle made for TensorRT. Build one on this device, as README.md says.");
    const Bytes plan = read_file(options.plan, most_plan_bytes);
    std::string wanted = options.plan_sha256;
    if (wanted.empty()) {
        const Bytes beside = read_file(options.plan.string() + ".sha256", 4096);
        wanted.assign(beside.begin(), beside.end());
    }
    const std::string found = sha256(plan.data(), plan.size());
    if (wanted.substr(0, found.size()) != found)
        throw Error(options.plan.string() + ": does not match its sha256. Build it again on this device.");
    return plan;
}

// A runtime without a device crashes when the program ends, so CUDA is asked first.
void need_device() {
    int devices = 0;
    const cudaError_t status = cudaGetDeviceCount(&devices);
    if (status != cudaSuccess || devices == 0)
        throw Error(std::string("no CUDA device is here (") + cudaGetErrorString(status) + "). Run on the device, or see nvidia-smi.");
}

class TensorRt : public Runtime {
public:
    TensorRt(const Bundle& bundle, const Options& options)
        : input_(bundle.manifest.input), output_(bundle.manifest.output) {
        const Bytes plan = checked_plan(options);
        need_device();
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        if (!runtime_) throw Error("TensorRT " + version() + " does not start (" + logger_.last() + ").");
        engine_.reset(runtime_->deserializeCudaEngine(plan.data(), plan.size()));
        if (!engine_)
            throw Error(options.plan.string() + ": TensorRT " + version() + " does not take it (" + logger_.last() +
                        "). Build it again on this device.");
        expect(input_, nvinfer1::TensorIOMode::kINPUT);
        expect(output_, nvinfer1::TensorIOMode::kOUTPUT);
        context_.reset(engine_->createExecutionContext());
        if (!context_) throw Error("TensorRT makes no context (" + logger_.last() + "). Free some memory.");
        const nvinfer1::Dims most = engine_->getProfileShape(input_.name.c_str(), 0, nvinfer1::OptProfileSelector::kMAX);
        most_batch_ = most.nbDims > 0 ? static_cast<std::size_t>(std::max<std::int64_t>(1, most.d[0])) : 1;
        stream_ = std::make_unique<Stream>();
        in_ = std::make_unique<Buffer>(most_batch_ * input_.size());
        out_ = std::make_unique<Buffer>(most_batch_ * output_.size());
        if (!context_->setTensorAddress(input_.name.c_str(), in_->data()) ||
            !context_->setTensorAddress(output_.name.c_str(), out_->data()))
            throw Error("TensorRT refuses the buffers (" + logger_.last() + ").");
    }

    std::string name() const override { return "TensorRT " + version(); }

    void run(const float* input, float* output, std::size_t batch) override {
        if (batch > most_batch_)
            throw Error("a batch of " + std::to_string(batch) + ", and the plan takes " + std::to_string(most_batch_) +
                        " at most. Build it for more.");
        set_batch(batch);
        const std::size_t in = batch * input_.size() * sizeof(float), out = batch * output_.size() * sizeof(float);
        check(cudaMemcpyAsync(in_->data(), input, in, cudaMemcpyHostToDevice, stream_->get()), "copying the input");
        if (!context_->enqueueV3(stream_->get())) throw Error("TensorRT does not run it (" + logger_.last() + ").");
        check(cudaMemcpyAsync(output, out_->data(), out, cudaMemcpyDeviceToHost, stream_->get()), "copying the output");
        check(cudaStreamSynchronize(stream_->get()), "running the plan");
    }

private:
    void expect(const TensorInfo& info, nvinfer1::TensorIOMode mode) const {
        for (std::int32_t i = 0; i < engine_->getNbIOTensors(); ++i) {
            const std::string name = engine_->getIOTensorName(i);
            if (name != info.name || engine_->getTensorIOMode(name.c_str()) != mode) continue;
            const nvinfer1::Dims dims = engine_->getTensorShape(name.c_str());
            bool same = dims.nbDims == static_cast<std::int32_t>(info.shape.size()) + 1;
            for (std::size_t axis = 0; same && axis < info.shape.size(); ++axis)
                same = static_cast<std::int64_t>(dims.d[axis + 1]) == info.shape[axis];
            if (same && engine_->getTensorDataType(name.c_str()) == nvinfer1::DataType::kFLOAT) return;
        }
        throw Error("the plan has no tensor " + info.name + " as the bundle describes it. Build it from this bundle.");
    }

    void set_batch(std::size_t batch) {
        if (batch == batch_) return;
        nvinfer1::Dims dims = engine_->getTensorShape(input_.name.c_str());
        if (dims.d[0] != -1 && dims.d[0] != static_cast<std::int64_t>(batch))
            throw Error("the plan takes batches of " + std::to_string(dims.d[0]) + " only. Build it for others.");
        dims.d[0] = static_cast<decltype(+dims.d[0])>(batch);
        if (!context_->setInputShape(input_.name.c_str(), dims))
            throw Error("TensorRT refuses a batch of " + std::to_string(batch) + " (" + logger_.last() + ").");
        batch_ = batch;
    }

    TensorInfo input_;
    TensorInfo output_;
    // Destroyed from the last to the first: buffers and context, then the engine, then the runtime.
    Logger logger_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::size_t most_batch_ = 1;
    std::size_t batch_ = 0;
    std::unique_ptr<Buffer> in_;
    std::unique_ptr<Buffer> out_;
    std::unique_ptr<Stream> stream_;
};

}  // namespace

std::unique_ptr<Runtime> open_tensorrt(const Bundle& bundle, const Options& options) {
    return std::make_unique<TensorRt>(bundle, options);
}

}  // namespace edgeprune
