// What runs a network: one source file per runtime, and the build says which are in.
#ifndef EDGEPRUNE_RUNTIME_HPP
#define EDGEPRUNE_RUNTIME_HPP

#include <memory>

#include "bundle.hpp"

namespace edgeprune {

class Runtime {
public:
    virtual ~Runtime() = default;

    virtual std::string name() const = 0;

    // `batch` items, one after the other. Throws Error where the runtime refuses them.
    virtual void run(const float* input, float* output, std::size_t batch) = 0;
};

std::unique_ptr<Runtime> open_onnxruntime(const Bundle& bundle, const Options& options);
std::unique_ptr<Runtime> open_tensorrt(const Bundle& bundle, const Options& options);

}  // namespace edgeprune

#endif
