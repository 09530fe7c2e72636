// Classify an image and say how long the network takes:
//
//     classify BUNDLE IMAGE [--top N] [--seconds S] [--threads N] [--check]
//              [--manifest-sha256 HEX] [--plan FILE [--plan-sha256 HEX]]
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "pictures.hpp"

namespace {

constexpr const char* usage =
    "usage: classify BUNDLE IMAGE [--top N] [--seconds S] [--threads N] [--check] [--manifest-sha256 HEX] [--plan FILE] "
    "[--plan-sha256 HEX]";

struct Request {
    std::string bundle;
    std::string image;
    std::size_t top = 5;
    double seconds = 1;
    bool check = false;
    edgeprune::Options options;
};

double number(const char* given, double most) {
    char* end = nullptr;
    const double value = std::strtod(given, &end);
    if (end == given || *end != '\0' || !(value >= 0 && value <= most)) throw edgeprune::Error(std::string(given) + ": no number that fits. " + usage);
    return value;
}

Request request_of(int count, char** words) {
    Request request;
    for (int i = 1; i < count; ++i) {
        const std::string word = words[i];
        const auto value = [&]() -> const char* {
            if (i + 1 >= count) throw edgeprune::Error(word + ": needs a value. " + usage);
            return words[++i];
        };
        if (word == "--top") request.top = static_cast<std::size_t>(number(value(), 1e6));
        else if (word == "--seconds") request.seconds = number(value(), 1e6);
        else if (word == "--threads") request.options.threads = static_cast<int>(number(value(), 1024));
        else if (word == "--check") request.check = true;
        else if (word == "--manifest-sha256") request.options.manifest_sha256 = value();
        else if (word == "--plan") request.options.plan = value();
        else if (word == "--plan-sha256") request.options.plan_sha256 = value();
        else if (word.rfind("--", 0) == 0) throw edgeprune::Error(word + ": unknown. " + usage);
        else if (request.bundle.empty()) request.bundle = word;
        else if (request.image.empty()) request.image = word;
        else throw edgeprune::Error(word + ": one bundle and one image are taken. " + usage);
    }
    if (request.image.empty()) throw edgeprune::Error(usage);
    return request;
}

using Clock = std::chrono::steady_clock;

double milliseconds(Clock::duration taken) { return std::chrono::duration<double, std::milli>(taken).count(); }

// Milliseconds of each call of the network alone, after a tenth of the time for warming up.
std::vector<double> time_calls(edgeprune::Model& model, const std::vector<float>& input, double seconds) {
    std::vector<float> output(model.manifest().output.size());
    std::vector<double> taken;
    const Clock::time_point start = Clock::now();
    const auto spent = [&] { return milliseconds(Clock::now() - start) / 1000; };
    while (spent() < seconds / 10) model.run(input.data(), output.data());
    do {
        const Clock::time_point before = Clock::now();
        model.run(input.data(), output.data());
        taken.push_back(milliseconds(Clock::now() - before));
    } while (spent() < seconds);
    std::sort(taken.begin(), taken.end());
    return taken;
}

void classify(const Request& request) {
    const Clock::time_point start = Clock::now();
    edgeprune::Model model = edgeprune::Model::load(request.bundle, request.options);
    const double loaded = milliseconds(Clock::now() - start);
    std::printf("%s on %s, loaded in %.1f ms\n", model.manifest().name.c_str(), model.runtime().c_str(), loaded);
    if (request.check)
        std::printf("golden inputs: worst relative error %.3g, %.3g is allowed\n", model.check_golden(),
                    model.manifest().golden_tolerance);
    const Picture picture = read_picture(request.image);
    for (const edgeprune::Class& found : model.classify(picture.image(), request.top))
        std::printf("%6.2f %%  %s (class %zu, score %.6g)\n", 100 * static_cast<double>(found.probability),
                    found.label.c_str(), found.index, static_cast<double>(found.score));
    if (request.seconds <= 0) return;
    const std::vector<double> taken = time_calls(model, model.preprocess(picture.image()), request.seconds);
    std::printf("latency: p50 %.3f ms, p90 %.3f ms, %zu calls\n", taken[taken.size() / 2], taken[taken.size() * 9 / 10],
                taken.size());
}

}  // namespace

int main(int count, char** words) {
    try {
        classify(request_of(count, words));
        return EXIT_SUCCESS;
    } catch (const std::exception& fault) {
        std::fprintf(stderr, "classify: %s\n", fault.what());
        return 2;
    }
}
