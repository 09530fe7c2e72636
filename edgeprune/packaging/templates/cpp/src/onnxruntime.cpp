// ONNX Runtime on the CPU, with the settings that `edgeprune profile` measures with.
#define ORT_API_MANUAL_INIT  // the version is compared first: an older library has no such interface
#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <thread>

#ifdef __linux__
#include <sched.h>
#endif

#include "runtime.hpp"

namespace edgeprune {
namespace {

// Two threads on one core share its vector units, so counting them as two only makes them wait for each other.
int physical_cores() {
#ifdef __linux__
    cpu_set_t usable;
    CPU_ZERO(&usable);
    if (sched_getaffinity(0, sizeof usable, &usable) == 0) {
        std::set<std::string> cores;
        for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
            if (!CPU_ISSET(cpu, &usable)) continue;
            const std::string name = "cpu" + std::to_string(cpu);
            std::ifstream topology("/sys/devices/system/cpu/" + name + "/topology/thread_siblings_list");
            std::string siblings;
            cores.insert(std::getline(topology, siblings) ? siblings : name);
        }
        if (!cores.empty()) return static_cast<int>(cores.size());
    }
#endif
    return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// An x86 without VNNI sums products of bytes in 16 bits, which 8-bit weights overflow; exact sums are slower and right.
bool saturates(const Manifest& manifest) {
    if (manifest.precision != "int8" || manifest.weight_bits != 8 || manifest.lowering != "onnxruntime") return false;
    std::ifstream cpuinfo("/proc/cpuinfo");
    std::string line;
    while (std::getline(cpuinfo, line)) {
        if (line.rfind("flags", 0) != 0) continue;
        const auto has = [&](const char* flag) { return (line + " ").find(std::string(" ") + flag + " ") != std::string::npos; };
        return has("avx2") && !has("avx512_vnni") && !has("avx_vnni");
    }
    return false;
}

void start() {
    static const OrtApi* api = OrtGetApiBase()->GetApi(ORT_API_VERSION);
    if (api == nullptr)
        throw Error(std::string("the installed ONNX Runtime ") + OrtGetApiBase()->GetVersionString() +
                    " is older than the headers that this program was built with. Install a newer one.");
    Ort::InitApi(api);
}

Ort::SessionOptions settings(const Manifest& manifest, const Options& options) {
    Ort::SessionOptions settings;
    settings.SetIntraOpNumThreads(options.threads > 0 ? options.threads : physical_cores());
    settings.SetInterOpNumThreads(1);
    settings.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
    if (saturates(manifest)) settings.AddConfigEntry("session.x64quantprecision", "1");
    return settings;
}

class OnnxRuntime : public Runtime {
public:
    OnnxRuntime(const Bundle& bundle, const Options& options)
        : input_(bundle.manifest.input),
          output_(bundle.manifest.output),
          environment_(ORT_LOGGING_LEVEL_ERROR, "edgeprune"),
          session_(environment_, bundle.model.data(), bundle.model.size(), settings(bundle.manifest, options)) {
        if (session_.GetInputCount() != 1 || session_.GetOutputCount() != 1)
            throw Error("model.onnx has several inputs or outputs; one of each is needed");
    }

    std::string name() const override {
        return std::string("ONNX Runtime ") + OrtGetApiBase()->GetVersionString() + " (CPU)";
    }

    void run(const float* input, float* output, std::size_t batch) override try {
        // ONNX Runtime takes no const inputs and does not write to them.
        const Ort::Value in = tensor(const_cast<float*>(input), input_, batch);
        Ort::Value out = tensor(output, output_, batch);
        const char* const in_names[] = {input_.name.c_str()};
        const char* const out_names[] = {output_.name.c_str()};
        session_.Run(Ort::RunOptions{nullptr}, in_names, &in, 1, out_names, &out, 1);
    } catch (const Ort::Exception& error) {
        throw Error(name() + " does not run it (" + error.what() + ").");
    }

private:
    // The caller's own memory as a tensor: nothing is copied.
    Ort::Value tensor(float* values, const TensorInfo& info, std::size_t batch) const {
        std::vector<std::int64_t> shape = {static_cast<std::int64_t>(batch)};
        shape.insert(shape.end(), info.shape.begin(), info.shape.end());
        return Ort::Value::CreateTensor<float>(memory_, values, batch * info.size(), shape.data(), shape.size());
    }

    TensorInfo input_;
    TensorInfo output_;
    Ort::Env environment_;
    Ort::Session session_;
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
};

}  // namespace

std::unique_ptr<Runtime> open_onnxruntime(const Bundle& bundle, const Options& options) {
    start();
    try {
        return std::make_unique<OnnxRuntime>(bundle, options);
    } catch (const Ort::Exception& error) {
        throw Error(bundle.path.string() + ": ONNX Runtime " + OrtGetApiBase()->GetVersionString() +
                    " does not take it (" + error.what() + ").");
    }
}

}  // namespace edgeprune
