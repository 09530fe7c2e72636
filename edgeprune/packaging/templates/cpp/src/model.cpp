#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "preprocess.hpp"
#include "runtime.hpp"

namespace edgeprune {
namespace {

std::unique_ptr<Runtime> open_runtime(const Bundle& bundle, const Options& options) {
    if (bundle.manifest.runtime == "tensorrt") {
#ifdef EDGEPRUNE_WITH_TENSORRT
        return open_tensorrt(bundle, options);
#else
        throw Error(bundle.path.string() + ": made for TensorRT, which is not in this build. Configure with -DEDGEPRUNE_TENSORRT=ON.");
#endif
    }
#ifdef EDGEPRUNE_WITH_ONNXRUNTIME
    return open_onnxruntime(bundle, options);
#else
    throw Error(bundle.path.string() + ": made for ONNX Runtime, which is not in this build. Configure with -DEDGEPRUNE_ONNXRUNTIME=ON.");
#endif
}

// ||found - expected|| / ||expected||, the L2 norm; infinite for values that are none.
double distance(const float* found, const float* expected, std::size_t size) {
    double apart = 0, norm = 0;
    for (std::size_t i = 0; i < size; ++i) {
        const double difference = static_cast<double>(found[i]) - static_cast<double>(expected[i]);
        apart += difference * difference;
        norm += static_cast<double>(expected[i]) * static_cast<double>(expected[i]);
    }
    const double relative = std::sqrt(apart) / std::max(std::sqrt(norm), static_cast<double>(std::numeric_limits<float>::min()));
    return std::isnan(relative) ? std::numeric_limits<double>::infinity() : relative;
}

std::vector<float> softmax(const std::vector<float>& scores) {
    const double most = *std::max_element(scores.begin(), scores.end());
    std::vector<double> powers;
    for (const float score : scores) powers.push_back(std::exp(static_cast<double>(score) - most));
    const double sum = std::accumulate(powers.begin(), powers.end(), 0.0);
    std::vector<float> shares;
    for (const double power : powers) shares.push_back(static_cast<float>(power / sum));
    return shares;
}

}  // namespace

struct Model::State {
    Manifest manifest;
    Bytes golden;
    std::unique_ptr<Runtime> runtime;
};

Model::Model(std::unique_ptr<State> state) : state_(std::move(state)) {}
Model::Model(Model&&) noexcept = default;
Model& Model::operator=(Model&&) noexcept = default;
Model::~Model() = default;

Model Model::load(const std::filesystem::path& path, const Options& options) {
    Bundle bundle = open_bundle(path, options.manifest_sha256);
    std::unique_ptr<Runtime> runtime = open_runtime(bundle, options);
    return Model(std::make_unique<State>(
        State{std::move(bundle.manifest), std::move(bundle.golden), std::move(runtime)}));
}

const Manifest& Model::manifest() const { return state_->manifest; }

std::string Model::runtime() const { return state_->runtime->name(); }

std::vector<float> Model::preprocess(const Image& image) const {
    std::vector<float> input(manifest().input.size());
    edgeprune::preprocess(image, manifest().preprocessing, input.data());
    return input;
}

void Model::run(const float* input, float* output, std::size_t batch) {
    if (batch == 0) throw Error("a batch of at least one item is needed.");
    state_->runtime->run(input, output, batch);
}

Tensor Model::run(const std::vector<float>& input) {
    const std::size_t batch = input.size() / manifest().input.size();
    if (batch * manifest().input.size() != input.size()) throw Error("the input is no whole number of items.");
    Tensor output{{static_cast<std::int64_t>(batch)}, std::vector<float>(batch * manifest().output.size())};
    output.shape.insert(output.shape.end(), manifest().output.shape.begin(), manifest().output.shape.end());
    run(input.data(), output.values.data(), batch);
    return output;
}

std::vector<Class> Model::classify(const Image& image, std::size_t top) {
    const std::vector<std::string>& labels = manifest().labels;
    if (manifest().output.shape.size() != 1 || labels.size() != manifest().output.size())
        throw Error("this network is no classifier with a label for each output. Use run().");
    const std::vector<float> scores = run(preprocess(image)).values;
    const std::vector<float> shares = softmax(scores);
    std::vector<std::size_t> order(scores.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) { return scores[a] > scores[b]; });
    order.resize(std::min(top, order.size()));
    std::vector<Class> best;
    for (const std::size_t index : order) best.push_back({index, labels[index], scores[index], shares[index]});
    return best;
}

double Model::check_golden() {
    const Golden golden = read_golden(state_->golden, manifest());
    const std::size_t in = manifest().input.size(), out = manifest().output.size();
    std::vector<float> found(out);
    double worst = 0;
    for (std::size_t item = 0; item < manifest().golden_count; ++item) {
        run(golden.input.data() + item * in, found.data());
        worst = std::max(worst, distance(found.data(), golden.output.data() + item * out, out));
    }
    if (!(worst <= manifest().golden_tolerance))
        throw Error(manifest().name + ": " + runtime() + " answers a golden input with a relative error of " +
                    std::to_string(worst) + ", and " + std::to_string(manifest().golden_tolerance) +
                    " is allowed. Update the runtime, or export again.");
    return worst;
}

}  // namespace edgeprune
