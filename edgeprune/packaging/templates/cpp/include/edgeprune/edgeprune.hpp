// Run an edgeprune bundle from C++17: check it, preprocess an image, run the network, read typed outputs.
//
//     edgeprune::Model model = edgeprune::Model::load("bundle");
//     for (const edgeprune::Class& found : model.classify({pixels, width, height, 3}, 5))
//         std::printf("%s %.3f\n", found.label.c_str(), found.probability);
//
// Every fault is one edgeprune::Error, whose text is one line. A program that must not see exceptions takes
// edgeprune.h instead.
#ifndef EDGEPRUNE_EDGEPRUNE_HPP
#define EDGEPRUNE_EDGEPRUNE_HPP

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace edgeprune {

// A fault that the user can mend; one line: what is wrong, then what to do.
class Error : public std::runtime_error {
public:
    explicit Error(const std::string& text);
};

// Pixels as a camera or a decoder gives them: rows from the top, channels interleaved, no padding between rows.
struct Image {
    const std::uint8_t* pixels;
    int width;
    int height;
    int channels;  // 3: RGB, 1: grey
};

// From an image to the input tensor. Images are resized as Pillow's BILINEAR does, bit for bit, because the images
// that the network was trained on were; see preprocess.cpp.
struct Preprocessing {
    enum class Channels { rgb, grey, any };  // any: the network takes no images, only run() serves it
    Channels channels;
    int resize_shorter_to;
    int crop;
    std::vector<float> mean;  // per channel, of pixels in 0..1
    std::vector<float> std;
};

// An input or output of the network. `shape` is without the batch axis, which comes first and is free.
struct TensorInfo {
    std::string name;
    std::vector<std::int64_t> shape;

    std::size_t size() const;  // values of one item
};

// What the bundle says of itself.
struct Manifest {
    std::string name;
    std::string target;
    std::string runtime;    // "onnxruntime" or "tensorrt"
    std::string precision;  // "int8" or "fp32"
    std::string lowering;   // which dialect of Q/DQ the ONNX file speaks
    int weight_bits;
    TensorInfo input;
    TensorInfo output;
    Preprocessing preprocessing;
    std::size_t golden_count;
    double golden_tolerance;  // relative L2 distance
    std::vector<std::string> labels;
};

struct Options {
    int threads = 0;  // of ONNX Runtime; 0: one per physical core that this process may use

    // The sha256 of manifest.json that the bundle must have, in hex; empty: any. Compile it in, or take it from where
    // you trust: the bundle's own sums only show damage, this shows exchange.
    std::string manifest_sha256;

    // For a bundle made for TensorRT: the plan that this device built from it, and its sha256. Without the latter the
    // sum is read from the file `PLAN.sha256` beside it. A plan is native code: it is never loaded unchecked.
    std::filesystem::path plan;
    std::string plan_sha256;
};

// One class of a classifier's answer.
struct Class {
    std::size_t index;
    std::string label;
    float score;        // as the network put it out
    float probability;  // softmax of the scores
};

// The answer for a batch.
struct Tensor {
    std::vector<std::int64_t> shape;  // with the batch axis
    std::vector<float> values;
};

// A bundle, checked and loaded. Movable. ONNX Runtime may be called from several threads at once, TensorRT may not:
// there, load one Model per thread.
class Model {
public:
    // Check every byte of a bundle against its manifest, then load it.
    // Throws Error: no bundle, a changed byte, a newer format, a runtime that is missing or refuses it.
    static Model load(const std::filesystem::path& bundle, const Options& options = {});

    Model(Model&&) noexcept;
    Model& operator=(Model&&) noexcept;
    ~Model();

    const Manifest& manifest() const;
    std::string runtime() const;  // name and version

    // An image as the network's input, [channels, crop, crop].
    std::vector<float> preprocess(const Image& image) const;

    // Run `batch` preprocessed items. `input` and `output` hold batch * manifest().input.size() and
    // batch * manifest().output.size() values; nothing is copied on a CPU.
    void run(const float* input, float* output, std::size_t batch = 1);
    Tensor run(const std::vector<float>& input);

    // The `top` likeliest classes of an image, best first. Throws Error where the network is no classifier.
    std::vector<Class> classify(const Image& image, std::size_t top = 5);

    // Run the bundle's golden inputs and return the worst relative L2 distance from the expected outputs.
    // Throws Error where it is beyond the bundle's tolerance.
    double check_golden();

private:
    struct State;
    explicit Model(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
};

}  // namespace edgeprune

#endif
