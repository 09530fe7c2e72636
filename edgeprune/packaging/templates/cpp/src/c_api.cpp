#include <algorithm>
#include <cstring>

#include "edgeprune/edgeprune.h"
#include "edgeprune/edgeprune.hpp"

struct edgeprune_model {
    edgeprune::Model model;
};

namespace {

void tell(char* error, std::size_t room, const char* line) noexcept {
    if (error == nullptr || room == 0) return;
    const std::size_t length = std::min(std::strlen(line), room - 1);
    std::memcpy(error, line, length);
    error[length] = '\0';
}

// The border: whatever is thrown inside comes out as a status.
template <typename Work>
edgeprune_status guarded(char* error, std::size_t room, Work work) noexcept {
    tell(error, room, "");
    try {
        return work();
    } catch (const edgeprune::Error& fault) {
        tell(error, room, fault.what());
        return EDGEPRUNE_REFUSED;
    } catch (const std::exception& fault) {
        tell(error, room, fault.what());
    } catch (...) {
        tell(error, room, "an unknown exception");
    }
    return EDGEPRUNE_FAILED;
}

edgeprune_status misused(char* error, std::size_t room, const char* line) {
    tell(error, room, line);
    return EDGEPRUNE_MISUSED;
}

std::string text(const char* given) { return given == nullptr ? "" : given; }

edgeprune::Image image_of(const edgeprune_image& image) {
    return {image.pixels, image.width, image.height, image.channels};
}

}  // namespace

int edgeprune_abi_version(void) { return EDGEPRUNE_ABI_VERSION; }

edgeprune_status edgeprune_load(const char* bundle, const edgeprune_options* options, edgeprune_model** model,
                                char* error, size_t error_bytes) {
    return guarded(error, error_bytes, [&] {
        if (bundle == nullptr || model == nullptr) return misused(error, error_bytes, "bundle or model is NULL");
        *model = nullptr;
        edgeprune::Options given;
        if (options != nullptr) {
            given.threads = options->threads;
            given.manifest_sha256 = text(options->manifest_sha256);
            given.plan = text(options->plan);
            given.plan_sha256 = text(options->plan_sha256);
        }
        *model = new edgeprune_model{edgeprune::Model::load(bundle, given)};
        return EDGEPRUNE_OK;
    });
}

void edgeprune_free(edgeprune_model* model) { delete model; }

size_t edgeprune_input_size(const edgeprune_model* model) {
    return model == nullptr ? 0 : model->model.manifest().input.size();
}

size_t edgeprune_output_size(const edgeprune_model* model) {
    return model == nullptr ? 0 : model->model.manifest().output.size();
}

edgeprune_status edgeprune_preprocess(const edgeprune_model* model, const edgeprune_image* image, float* input,
                                      size_t input_values, char* error, size_t error_bytes) {
    return guarded(error, error_bytes, [&] {
        if (model == nullptr || image == nullptr || input == nullptr)
            return misused(error, error_bytes, "model, image or input is NULL");
        if (input_values != edgeprune_input_size(model)) return misused(error, error_bytes, "input has another size");
        const std::vector<float> values = model->model.preprocess(image_of(*image));
        std::copy(values.begin(), values.end(), input);
        return EDGEPRUNE_OK;
    });
}

edgeprune_status edgeprune_run(edgeprune_model* model, const float* input, size_t input_values, float* output,
                               size_t output_values, size_t batch, char* error, size_t error_bytes) {
    return guarded(error, error_bytes, [&] {
        if (model == nullptr || input == nullptr || output == nullptr)
            return misused(error, error_bytes, "model, input or output is NULL");
        const std::size_t in = edgeprune_input_size(model), out = edgeprune_output_size(model);
        if (batch == 0 || input_values / in != batch || input_values % in != 0 || output_values / out != batch ||
            output_values % out != 0)
            return misused(error, error_bytes, "input or output do not hold batch items");
        model->model.run(input, output, batch);
        return EDGEPRUNE_OK;
    });
}

edgeprune_status edgeprune_classify(edgeprune_model* model, const edgeprune_image* image, edgeprune_class* classes,
                                    size_t* count, char* error, size_t error_bytes) {
    return guarded(error, error_bytes, [&] {
        if (model == nullptr || image == nullptr || classes == nullptr || count == nullptr)
            return misused(error, error_bytes, "model, image, classes or count is NULL");
        const std::vector<edgeprune::Class> found = model->model.classify(image_of(*image), *count);
        for (std::size_t i = 0; i < found.size(); ++i)
            classes[i] = {found[i].index, model->model.manifest().labels[found[i].index].c_str(), found[i].score,
                          found[i].probability};
        *count = found.size();
        return EDGEPRUNE_OK;
    });
}

edgeprune_status edgeprune_check_golden(edgeprune_model* model, double* worst, char* error, size_t error_bytes) {
    return guarded(error, error_bytes, [&] {
        if (model == nullptr) return misused(error, error_bytes, "model is NULL");
        const double found = model->model.check_golden();
        if (worst != nullptr) *worst = found;
        return EDGEPRUNE_OK;
    });
}
