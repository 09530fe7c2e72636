// A program of native.py that embeds the loader: native_timer BUNDLE OUT. It loads the bundle, writes the outputs of
// one input, zeros, to OUT, says "ready" and then, for each number on stdin, runs that many calls and prints their
// milliseconds; at the end of stdin, the peak of its memory.
#include <chrono>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <string>

#include "edgeprune/edgeprune.hpp"

int main(int count, char** words) try {
    if (count != 3) return 64;
    edgeprune::Options options;
    options.threads = 1;
    edgeprune::Model model = edgeprune::Model::load(words[1], options);
    const std::vector<float> input(model.manifest().input.size());
    std::vector<float> output(model.manifest().output.size());
    model.run(input.data(), output.data());
    std::ofstream(words[2], std::ios::binary)
        .write(reinterpret_cast<const char*>(output.data()), static_cast<std::streamsize>(output.size() * sizeof(float)));
    std::cout << "ready" << std::endl;
    using Clock = std::chrono::steady_clock;
    for (int calls = 0; std::cin >> calls;) {
        for (int i = 0; i < calls; ++i) {
            const Clock::time_point start = Clock::now();
            model.run(input.data(), output.data());
            std::printf("%.6f ", std::chrono::duration<double, std::milli>(Clock::now() - start).count());
        }
        std::printf("\n");
        std::fflush(stdout);
    }
    std::ifstream status("/proc/self/status");
    for (std::string line; std::getline(status, line);)
        if (line.rfind("VmHWM:", 0) == 0) std::printf("%s\n", line.c_str());
    return 0;
} catch (const edgeprune::Error& error) {
    std::fprintf(stderr, "%s\n", error.what());
    return 2;
}
