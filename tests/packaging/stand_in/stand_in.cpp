// A stand-in for TensorRT and CUDA on the CPU, so that the loader's calls run under sanitizers. Its plans are texts,
// "plan INPUT MOST": the network sums each of the three channels of [n, 3, 12, 12], for batches of MOST at the most.
#include "NvInfer.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <numeric>
#include <string>

using namespace nvinfer1;

namespace {

constexpr std::int64_t side = 12, channels = 3;

struct Context : IExecutionContext {
    Context(std::string given, std::int64_t limit) : input(std::move(given)), most(limit) {}

    bool setTensorAddress(const char* name, void* data) noexcept override {
        (input == name ? in : out) = static_cast<float*>(data);
        return true;
    }
    bool setInputShape(const char* name, const Dims& dims) noexcept override {
        batch = dims.d[0];
        return input == name && batch >= 1 && batch <= most;
    }
    bool enqueueV3(cudaStream_t) noexcept override {
        for (std::int64_t plane = 0; plane < batch * channels; ++plane)
            out[plane] = std::accumulate(in + plane * side * side, in + (plane + 1) * side * side, 0.0f);
        return batch > 0;
    }

    std::string input;
    std::int64_t most, batch = 0;
    float *in = nullptr, *out = nullptr;
};

struct Engine : ICudaEngine {
    Engine(std::string given, std::int64_t limit) : input(std::move(given)), most(limit) {}

    std::int32_t getNbIOTensors() const noexcept override { return 2; }
    const char* getIOTensorName(std::int32_t index) const noexcept override { return index == 0 ? input.c_str() : "output"; }
    TensorIOMode getTensorIOMode(const char* name) const noexcept override {
        return input == name ? TensorIOMode::kINPUT : TensorIOMode::kOUTPUT;
    }
    Dims getTensorShape(const char* name) const noexcept override {
        return input == name ? Dims{4, {-1, channels, side, side}} : Dims{2, {-1, channels}};
    }
    DataType getTensorDataType(const char*) const noexcept override { return DataType::kFLOAT; }
    Dims getProfileShape(const char*, std::int32_t, OptProfileSelector) const noexcept override {
        return {4, {most, channels, side, side}};
    }
    IExecutionContext* createExecutionContext() noexcept override { return new Context(input, most); }

    std::string input;
    std::int64_t most;
};

struct Runtime : IRuntime {
    explicit Runtime(ILogger& given) : logger(given) {}

    ICudaEngine* deserializeCudaEngine(const void* plan, std::size_t bytes) noexcept override {
        char input[64];
        long long most = 0;
        const std::string text(static_cast<const char*>(plan), bytes);
        if (std::sscanf(text.c_str(), "plan %63s %lld", input, &most) == 2) return new Engine(input, most);
        logger.log(ILogger::Severity::kERROR, "the plan was built\nby another version");
        return nullptr;
    }

    ILogger& logger;
};

}  // namespace

IRuntime* nvinfer1::createInferRuntime(ILogger& logger) noexcept {
    std::fprintf(stderr, "[TensorRT starts]\n");
    return new Runtime(logger);
}

const char* cudaGetErrorString(cudaError_t error) { return error == cudaErrorNoDevice ? "no device" : "an error"; }
cudaError_t cudaGetDeviceCount(int* count) {
    *count = std::getenv("STAND_IN_NO_DEVICE") == nullptr;
    return *count > 0 ? cudaSuccess : cudaErrorNoDevice;
}
cudaError_t cudaMalloc(void** memory, std::size_t bytes) {
    *memory = std::malloc(bytes);
    return *memory != nullptr ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void* memory) {
    std::free(memory);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t* stream) {
    *stream = static_cast<cudaStream_t>(std::malloc(1));
    return cudaSuccess;
}
cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }
cudaError_t cudaStreamDestroy(cudaStream_t stream) { return cudaFree(stream); }
cudaError_t cudaMemcpyAsync(void* to, const void* from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
