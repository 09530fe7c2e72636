// Parts of the loader, called one by one, for the tests:
//     driver golden BUNDLE OUT           outputs of the golden inputs, raw
//     driver preprocess BUNDLE IMAGE OUT the network's input, raw; IMAGE is binary PPM or PGM without comments
//     driver sha256 FILE...
//     driver load                        for each bundle on stdin, a line: what is wrong with it, or "sound"
#include <cstdio>
#include <fstream>
#include <iostream>

#include "bundle.hpp"
#include "preprocess.hpp"
#include "sha256.hpp"

namespace {

using namespace edgeprune;

void write(const char* path, const std::vector<float>& values) {
    std::ofstream(path, std::ios::binary)
        .write(reinterpret_cast<const char*>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
}

void golden(const char* path, const char* out) {
    Options options;
    options.threads = 1;
    Model model = Model::load(path, options);
    const Bundle bundle = open_bundle(path, "");
    const Golden golden = read_golden(bundle.golden, bundle.manifest);
    std::vector<float> found(bundle.manifest.golden_count * bundle.manifest.output.size());
    for (std::size_t item = 0; item < bundle.manifest.golden_count; ++item)
        model.run(golden.input.data() + item * bundle.manifest.input.size(), found.data() + item * bundle.manifest.output.size());
    std::printf("%g\n", model.check_golden());
    write(out, found);
}

void preprocess(const char* path, const char* image, const char* out) {
    const Bundle bundle = open_bundle(path, "");
    std::ifstream stream(image, std::ios::binary);
    char kind[2];
    int width, height, most;
    stream.read(kind, 2) >> width >> height >> most;
    stream.get();
    const int channels = kind[1] == '6' ? 3 : 1;
    std::vector<std::uint8_t> pixels(static_cast<std::size_t>(width * height * channels));
    stream.read(reinterpret_cast<char*>(pixels.data()), static_cast<std::streamsize>(pixels.size()));
    std::vector<float> input(bundle.manifest.input.size());
    edgeprune::preprocess({pixels.data(), width, height, channels}, bundle.manifest.preprocessing, input.data());
    write(out, input);
}

void load() {
    std::string path;
    while (std::getline(std::cin, path)) {
        try {
            const Bundle bundle = open_bundle(path, "");
            read_golden(bundle.golden, bundle.manifest);
            std::printf("sound\n");
        } catch (const Error& error) {
            std::printf("%s\n", error.what());
        }
    }
}

}  // namespace

int main(int count, char** words) {
    const std::string verb = count > 1 ? words[1] : "";
    if (verb == "golden" && count == 4) golden(words[2], words[3]);
    else if (verb == "preprocess" && count == 5) preprocess(words[2], words[3], words[4]);
    else if (verb == "load") load();
    else if (verb == "sha256")
        for (int i = 2; i < count; ++i) {
            const Bytes content = read_file(words[i], std::uintmax_t{1} << 30);
            std::printf("%s\n", sha256(content.data(), content.size()).c_str());
        }
    else return 64;
    return 0;
}
